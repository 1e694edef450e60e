"""COCO files as people write them: what is read, what is refused, and in which words."""

import copy
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from organoseg.core import DataError, Instances
from organoseg.io.coco_json import parse_coco_instances, parse_predictions, parse_results

SQUARE = [2.0, 3.0, 8.0, 3.0, 8.0, 9.0, 2.0, 9.0]


def coco() -> dict[str, Any]:
    """Two images of 20 x 30; three organoids on the first, two of them overlapping."""
    shifted = [value + 2 for value in SQUARE]
    return {
        "images": [
            {"id": 7, "file_name": "a.png", "height": 20, "width": 30},
            {"id": 8, "file_name": "b.png", "height": 20, "width": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "segmentation": [SQUARE], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "segmentation": [shifted], "score": 0.5},
            {
                "id": 5,
                "image_id": 7,
                "category_id": 3,
                "segmentation": {"size": [20, 30], "counts": [40, 10, 550]},
                "source": "person",
            },
        ],
        "categories": [{"id": 1, "name": "organoid"}, {"id": 3, "name": "cyst"}],
    }


def write(folder: Path, data: Any, name: str = "labels.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(data))
    return path


def test_reads_polygons_and_run_lengths_with_their_fields(tmp_path: Path) -> None:
    read = parse_coco_instances(write(tmp_path, coco()))
    assert read.categories == {1: "organoid", 3: "cyst"}
    assert list(read.instances) == ["a.png", "b.png"]
    a = read.instances["a.png"]
    assert a.shape == (20, 30)
    assert a.ids.tolist() == [1, 2, 5]
    assert a.classes.tolist() == [1, 1, 3]
    assert a.scores.tolist() == [1.0, 0.5, 1.0]
    assert a.sources == ("", "", "person")
    assert a.areas.tolist() == [36, 36, 10]
    assert a.intersection(a)[0, 1] == 16, "overlap is kept"
    assert a.to_dense()[2, :, 2].sum() == 10
    assert len(read.instances["b.png"]) == 0


def test_names_pick_images_in_their_order(tmp_path: Path) -> None:
    path = write(tmp_path, coco())
    assert list(parse_coco_instances(path, names=["b.png", "a.png"]).instances) == [
        "b.png",
        "a.png",
    ]
    with pytest.raises(DataError, match=r"not in the file: c\.png"):
        parse_coco_instances(path, names=["a.png", "c.png"])
    with pytest.raises(DataError, match=r"named twice: a\.png"):
        parse_coco_instances(path, names=["a.png", "a.png"])


def test_a_file_that_numbers_from_zero_is_shifted(tmp_path: Path) -> None:
    data = coco()
    for number, annotation in enumerate(data["annotations"]):
        annotation["id"] = number
    parsed = parse_coco_instances(write(tmp_path, data))
    assert parsed.instances["a.png"].ids.tolist() == [1, 2, 3]
    assert parsed.first_id == 0


def _change(path: str, value: Any) -> Any:
    def change(data: dict[str, Any]) -> None:
        *way, last = path.split(".")
        place: Any = data
        for part in way:
            place = place[int(part)] if part.isdigit() else place[part]
        place[int(last) if last.isdigit() else last] = value

    return change


FIRST = "annotations.0.segmentation"
FAULTS = {
    "duplicate image id": (_change("images.1.id", 7), "duplicate image id: 7"),
    "duplicate file name": (_change("images.1.file_name", "a.png"), "duplicate file name: a.png"),
    "duplicate annotation": (_change("annotations.1.id", 1), "duplicate annotation id: 1 (a.png)"),
    "duplicate category": (_change("categories.1.id", 1), "duplicate category id: 1"),
    "unknown image": (_change("annotations.0.image_id", 99), "unknown image: 1 (image 99)"),
    "unknown class": (_change("annotations.0.category_id", 2), "1 of a.png (category 2)"),
    "crowd": (_change("annotations.0.iscrowd", 1), "crowd region (iscrowd 1): 1 of a.png"),
    "no polygon": (_change(FIRST, []), "empty segmentation: annotation 1 of a.png"),
    "empty polygon": (_change(FIRST, [[]]), "empty polygon: annotation 1 of a.png"),
    "two points": (_change(FIRST, [[1, 1, 5, 5]]), "fewer than 3 points: annotation 1"),
    "odd": (_change(FIRST, [[1, 1, 5, 5, 3, 8, 2]]), "at least three points x, y: annotation 1"),
    "no area": (_change(FIRST, [[4.6, 4.6] * 3]), "mask without a pixel: annotation 1"),
    "out of bounds": (_change(FIRST, [[0, 0, 35, 0, 9, 9]]), "out of bounds: annotation 1"),
    "below zero": (_change(FIRST, [[-4, 0, 5, 0, 9, 9]]), "out of bounds: annotation 1"),
    "far away": (_change(FIRST, [[0, 0, 1e9, 0, 9, 9]]), "far outside its image: annotation 1"),
    "rle of another size": (
        _change(FIRST, {"size": [30, 20], "counts": [600]}),
        "does not fit the image",
    ),
    "rle too long": (
        _change(FIRST, {"size": [20, 30], "counts": [40, 900]}),
        "do not add up to the 20 x 30 image",
    ),
    "rle gibberish": (_change(FIRST, {"size": [20, 30], "counts": "¤¤"}), "not a COCO string"),
    "no categories": (lambda data: data.pop("categories"), "categories: Field required"),
    "no mask": (
        lambda data: data["annotations"][0].pop("segmentation"),
        "annotations[0].segmentation: Field required",
    ),
    "text for a number": (_change("images.0.height", "tall"), "images[0].height"),
    "no height": (_change("images.0.height", 0), "images[0].height"),
    "endless id": (_change("annotations.0.id", 10**30), "annotations[0].id"),
    "endless class": (_change("annotations.0.category_id", 10**12), "annotations[0].category_id"),
    "endless score": (_change("annotations.0.score", 1e300), "annotations[0].score"),
    "endless run": (_change(FIRST, {"size": [20, 30], "counts": [10**30]}), "annotation 1"),
    "nan": (_change(FIRST, [[float("nan")] * 6]), "annotations[0].segmentation"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_with_its_place(tmp_path: Path, fault: str) -> None:
    change, words = FAULTS[fault]
    data = copy.deepcopy(coco())
    change(data)
    path = write(tmp_path, data)
    with pytest.raises(DataError) as caught:
        parse_coco_instances(path)
    assert words.lower() in caught.value.what.lower()
    assert caught.value.where == str(path)
    assert caught.value.remedy
    assert caught.value.exit_code == 3


def test_many_offenders_are_counted_and_five_shown(tmp_path: Path) -> None:
    data = coco()
    data["annotations"] = [
        {"id": n, "image_id": 7, "category_id": 1, "segmentation": []} for n in range(1, 10)
    ]
    with pytest.raises(DataError) as caught:
        parse_coco_instances(write(tmp_path, data))
    assert "annotation 5 of a.png and 4 more" in caught.value.what
    assert "annotation 6" not in caught.value.what


@pytest.mark.parametrize("content", ["", "{", "[1, 2", "3", "[]", "null", '{"images": 3}', "\x80"])
def test_what_is_not_coco_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "labels.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(DataError):
        parse_coco_instances(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.json"):
        parse_coco_instances(tmp_path / "gone.json")


def test_edge_coordinates_are_no_fault(tmp_path: Path) -> None:
    data = coco()
    data["annotations"][0]["segmentation"] = [[0, 0, 30.5, 0, 30.5, 20.5, 0, 20.5]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read = parse_coco_instances(write(tmp_path, data))
    assert read.instances["a.png"].areas[0] == 600


def test_repairing_clips_and_drops_and_says_so_in_one_line(tmp_path: Path) -> None:
    data = coco()
    data["annotations"][0]["segmentation"] = [[-5, 2, 4, 2, 4, 8, -5, 8]]
    data["annotations"][1]["segmentation"] = [[], [1, 1, 2, 2]]
    with pytest.warns(UserWarning, match="1 x polygon out of bounds, 1 x empty polygon") as caught:
        read = parse_coco_instances(write(tmp_path, data), strict=False)
    assert len(caught) == 1
    a = read.instances["a.png"]
    assert a.ids.tolist() == [1, 5]
    assert a.to_dense()[0].sum() == a.to_dense()[0, 2:8, :4].sum() == 24


@pytest.mark.parametrize("fault", ["crowd", "far away", "rle too long", "duplicate annotation"])
def test_repairing_never_guesses(tmp_path: Path, fault: str) -> None:
    data = coco()
    FAULTS[fault][0](data)
    with pytest.raises(DataError):
        parse_coco_instances(write(tmp_path, data), strict=False)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dense=hnp.arrays(np.bool_, st.tuples(*[st.integers(1, n) for n in (4, 9, 11)])),
    plain=st.booleans(),
)
def test_run_lengths_come_back_bit_for_bit(tmp_path: Path, dense: Any, plain: bool) -> None:
    dense = dense[dense.any(axis=(1, 2))]
    shape = dense.shape[1:]
    instances = Instances.from_dense(dense) if len(dense) else Instances.empty(shape)
    rles = instances.to_rles()
    if plain:
        rles = [{"size": list(shape), "counts": _runs(bits)} for bits in dense]
    data = {
        "images": [{"id": 1, "file_name": "x", "height": shape[0], "width": shape[1]}],
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": 1, "segmentation": rle}
            for i, rle in enumerate(rles)
        ],
        "categories": [{"id": 1, "name": "organoid"}],
    }
    read = parse_coco_instances(write(tmp_path, data)).instances["x"]
    assert np.array_equal(read.to_dense(), dense)


def _runs(bits: Any) -> list[int]:
    flat = bits.ravel(order="F").astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *edges, flat.size]).tolist()
    return [0, *runs] if flat[0] else runs


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(0, 20, width=32), min_size=6, max_size=16).filter(lambda p: len(p) % 2 == 0)
)
def test_polygons_fill_as_in_pycocotools(tmp_path: Path, polygon: list[float]) -> None:
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 20, 30)))
    data = coco()
    data["annotations"][0]["segmentation"] = [polygon]
    path = write(tmp_path, data)
    if not expected.any():
        with pytest.raises(DataError, match="without a pixel"):
            parse_coco_instances(path)
    else:
        read = parse_coco_instances(path).instances["a.png"]
        assert np.array_equal(read.to_dense()[0], expected.astype(bool))


def test_results_take_names_and_sizes_from_the_ground_truth(tmp_path: Path) -> None:
    truth = write(tmp_path, coco())
    results = [
        {"image_id": 8, "category_id": 1, "segmentation": [SQUARE], "score": 0.25, "bbox": [1]},
        {"image_id": 8, "category_id": 1, "segmentation": [SQUARE], "score": 0.75},
    ]
    read = parse_results(write(tmp_path, results, "results.json"), truth)
    assert list(read) == ["a.png", "b.png"]
    assert len(read["a.png"]) == 0
    assert read["b.png"].scores.tolist() == [0.25, 0.75]
    assert read["b.png"].ids.tolist() == [1, 2]


def test_results_of_another_data_set_are_refused(tmp_path: Path) -> None:
    truth = write(tmp_path, coco())
    result = {"image_id": 99, "category_id": 1, "segmentation": [SQUARE], "score": 0.5}
    with pytest.raises(DataError, match=r"lacks: entry 0 \(image id 99\)"):
        parse_results(write(tmp_path, [result], "results.json"), truth)
    result = {"image_id": 7, "category_id": 1, "bbox": [0, 0, 3, 3], "score": 0.5}
    with pytest.raises(DataError, match=r"\[0\]\.segmentation: Field required"):
        parse_results(write(tmp_path, [result], "results.json"), truth)


def test_a_predicted_mask_without_a_pixel_is_left_out_with_a_warning(tmp_path: Path) -> None:
    truth = write(tmp_path, coco())
    empty = {"size": [20, 30], "counts": [600]}
    results = [{"image_id": 7, "category_id": 1, "segmentation": empty, "score": 0.5}]
    with pytest.warns(UserWarning, match="1 x mask without a pixel"):
        read = parse_results(write(tmp_path, results, "results.json"), truth)
    assert len(read["a.png"]) == 0


def test_predictions_come_in_either_form(tmp_path: Path) -> None:
    truth = write(tmp_path, coco())
    results = [{"image_id": 7, "category_id": 1, "segmentation": [SQUARE], "score": 0.5}]
    bare = parse_predictions(write(tmp_path, results, "results.json"), truth)
    whole = parse_predictions(truth, truth)
    assert len(bare["a.png"]) == 1
    assert len(whole["a.png"]) == 3


def test_real_files_read_whole(shared: Path) -> None:
    folder = shared / "data" / "m_orgaquant"
    val = parse_coco_instances(folder / "instances_val.json").instances
    test = parse_coco_instances(folder / "instances_test.json").instances
    assert (len(val), sum(map(len, val.values()))) == (100, 915)
    assert (len(test), sum(map(len, test.values()))) == (56, 807)
    peer = shared / "peers" / "organoid" / "organoid_test.json"
    predicted = parse_predictions(peer, folder / "instances_test.json")
    assert set(predicted) == set(test)
    assert sum(map(len, predicted.values())) == 766
