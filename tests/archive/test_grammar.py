"""What file names say, and which files become one stack."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organoseg.archive.file_planes import SourceFile, rectangles
from organoseg.archive.grammar import Grammar
from organoseg.core import UsageError
from organoseg.io import group_of


@pytest.mark.parametrize(
    ("name", "group", "coordinates", "fields"),
    [
        (
            "D6_auto_Plate_M_p00_z05_0_A02f00d0.TIF",
            "D6_auto_Plate_M/A02",
            {"z": "05", "c": "0"},
            {"plate": "D6_auto_Plate_M", "site": "p00", "well": "A02"},
        ),
        ("ch01_A_9_t3.tif", "set/A09", {"c": "01", "t": "3"}, {"well": "A09", "plate": "set"}),
        ("example_data_well06.jpg", "set", {"z": "06"}, {}),
        (
            "Subset_2_450x450_017.jpg",
            "Subset_2",
            {},
            {"plate": "Subset_2", "site": "450x450_017"},
        ),
        ("orgaquant_3.jpg", "set", {}, {"site": "3"}),
        ("anything else.png", "set", {}, {}),
    ],
)
def test_presets_read_the_names_of_real_sets(
    name: str, group: str, coordinates: dict[str, str], fields: dict[str, str]
) -> None:
    said = Grammar.of().parse(f"in/{name}", Path("/x/set") / name)
    assert (said.group, said.coordinates, said.fields) == (group, coordinates, fields)
    assert Grammar.of("none").parse(name, Path("/x/set") / name).coordinates == {}


@pytest.mark.parametrize("name", ["D6_x_p00_z05_0_A02f00d0.TIF", "ch01_A_9_t3.tif", "a.png"])
def test_plates_have_the_group_that_labelled_images_have(name: str) -> None:
    # A split by group would else let a well into training that validation holds.
    path = Path("/x/set") / name
    assert Grammar.of().parse(name, path).group == group_of(path)


def test_a_users_pattern_sees_folders_and_cuts_what_varies() -> None:
    grammar = Grammar.of(r"day(?P<time>\d+)/(?P<well>[A-H]\d+)_z(?P<z>\d+)")
    one = grammar.parse("day1/B7_z3.tif", Path("/x/day1/B7_z3.tif"))
    other = grammar.parse("day10/B7_z12.tif", Path("/x/day10/B7_z12.tif"))
    assert one.stack == other.stack == "day<t>/B7_z<z>.tif"
    assert (other.coordinates, other.fields["well"]) == ({"t": "10", "z": "12"}, "B7")


@pytest.mark.parametrize("text", ["(", "z[0-9]+", r"(?P<depth>\d+)"])
def test_a_pattern_without_use_is_refused_with_the_choices(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Grammar.of(text)
    assert "imagexpress" in str(caught.value.remedy)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(*[st.integers(0, 3)] * 3), min_size=1))
def test_any_holes_make_stacks_without_holes_and_lose_nothing(places: set[tuple[int, ...]]) -> None:
    files = [
        SourceFile(Path(str(p)), str(p), dict(zip("tcz", map(str, p), strict=True))) for p in places
    ]
    parts = rectangles(files)
    assert sorted(f.name for part in parts for f in part) == sorted(f.name for f in files)
    for part in parts:
        lengths = [len({f.coordinates[a] for f in part}) for a in "tcz"]
        assert lengths[0] * lengths[1] * lengths[2] == len(part)
