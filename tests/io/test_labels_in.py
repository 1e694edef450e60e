"""What labelling tools write, read back: known pixels, exact round trips, faults that are named."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import roifile
import tifffile
from hypothesis import HealthCheck, given, settings
from numpy.typing import NDArray
from PIL import Image as Picture

from organoseg.core import DataError, Instances, Mask
from organoseg.io.boxes_json import read_boxes
from organoseg.io.cvat import read_cvat
from organoseg.io.drawn import Area, Box, Ellipse, Pixels, Sheet, rasterise
from organoseg.io.geojson import write_geojson
from organoseg.io.geojson_in import read_geojson
from organoseg.io.label_image import read_label_image
from organoseg.io.label_tiff import write_labels
from organoseg.io.labelme import read_labelme
from organoseg.io.roi_in import read_rois
from organoseg.io.roi_zip import write_rois
from tests.core.strategies import organoids

in_tmp = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None
)
SIZE = (20, 30)


def drawn(sheet: Sheet, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    """Bool (N, H, W) of everything in the sheet."""
    assert not any(one.fault for one in sheet.drawn)
    masks = [rasterise(one.shape, size).mask for one in sheet.drawn]
    return Instances.from_masks(size, masks).to_dense()


def square(y0: int, x0: int, y1: int, x1: int) -> NDArray[np.bool_]:
    bits = np.zeros(SIZE, np.bool_)
    bits[y0:y1, x0:x1] = True
    return bits


# -- exact round trips --------------------------------------------------------------------------


@in_tmp
@given(found=organoids())
def test_geojson_written_and_read_is_the_same_pixels(tmp_path: Path, found: Instances) -> None:
    names = {1: "cyst", 2: "budding", 3: "dense"}
    write_geojson(tmp_path / "a.geojson", found, names, "a.tif")
    sheet = read_geojson(tmp_path / "a.geojson")
    assert [one.label for one in sheet.drawn] == [names[c] for c in found.classes.tolist()]
    assert np.array_equal(drawn(sheet, found.shape), found.to_dense())


@in_tmp
@given(found=organoids())
def test_rois_written_and_read_are_the_same_pixels(tmp_path: Path, found: Instances) -> None:
    names = {1: "cyst", 2: "budding", 3: "dense"}
    write_rois(tmp_path / "a.zip", found, names)
    sheet = read_rois(tmp_path / "a.zip")
    assert [one.label for one in sheet.drawn] == [names[c] for c in found.classes.tolist()]
    assert np.array_equal(drawn(sheet, found.shape), found.to_dense())


@in_tmp
@given(found=organoids())
def test_label_images_written_and_read_are_the_same_numbers(
    tmp_path: Path, found: Instances
) -> None:
    labels = found.render()
    write_labels(tmp_path / "a.tif", Instances.from_labels(labels))
    assert np.array_equal(read_label_image(tmp_path / "a.tif"), labels)


# -- shapes -------------------------------------------------------------------------------------


def test_a_pixel_belongs_to_what_covers_its_centre() -> None:
    ring = np.array([[1.6, 2.0], [1.6, 6.0], [5.0, 6.0], [5.0, 2.0]])
    mask = rasterise(Area(((ring,),)), SIZE).mask
    assert mask is not None
    assert mask.box == (2, 2, 5, 6)


def test_a_disc_has_the_area_of_a_disc_and_turns_clockwise() -> None:
    disc = rasterise(Ellipse(10, 15, 8, 8), SIZE).mask
    assert disc is not None
    assert disc.area == pytest.approx(np.pi * 64, rel=0.05)
    lying = rasterise(Ellipse(10, 15, 2, 9), SIZE).mask
    standing = rasterise(Ellipse(10, 15, 2, 9, np.pi / 2), SIZE).mask
    assert lying is not None
    assert standing is not None
    assert lying.box == (8, 6, 12, 24)
    assert standing.box == (1, 13, 19, 17)
    sloping = rasterise(Ellipse(10, 15, 1, 9, np.pi / 4), SIZE).mask
    assert sloping is not None
    dense = Instances.from_masks(SIZE, [sloping]).to_dense()[0]
    assert dense[14, 19]  # to the right and down, as it is seen
    assert not dense[14, 10]


@pytest.mark.parametrize(
    ("shape", "fault", "left"),
    [
        (Area(((np.array([[0.0, 0], [5, 5]]),),)), "fewer than 3 points", 0),
        (Area(((np.array([[0.0, 0], [5, 5], [0, 0]]),),)), "fewer than 3 points", 0),
        (Area(((np.array([[0.0, 0], [5, np.nan], [0, 5]]),),)), "not numbers", 0),
        (Area(((np.array([[0.0, 0], [5, np.inf], [0, 5]]),),)), "not numbers", 0),
        (Area(((np.array([[0.0, -4], [0, 4], [4, 4], [4, -4]]),),)), "out of the image", 16),
        (Area(((np.array([[0.0, 1e12], [4, 4], [4, -4]]),),)), "far outside", 0),
        (Area(((np.array([[1.1, 1.1], [1.1, 1.3], [1.3, 1.3]]),),)), "no pixel", 0),
        (Area(()), "without a point", 0),
        (Ellipse(5, 5, 0, 3), "without an area", 0),
        (Ellipse(5, float("nan"), 1, 3), "not numbers", 0),
        (Box(-5, -5, 5, 5), "out of the image", 25),
        (Pixels(np.ones((4, 4), np.bool_), -2, 28), "out of the image", 4),
        (Pixels(np.ones((4, 4), np.bool_), 50, 50), "out of the image", 0),
        (Pixels(np.zeros((4, 4), np.bool_)), "no pixel", 0),
    ],
)
def test_every_fault_of_a_shape_is_said(shape: Any, fault: str, left: int) -> None:
    found = rasterise(shape, SIZE)
    assert any(fault in one for one in found.faults)
    area = 0 if found.mask is None else found.mask.area
    assert area == pytest.approx(left, abs=6 if isinstance(shape, Box) else 0)


def test_an_edge_a_pixel_past_the_image_is_no_fault() -> None:
    ring = np.array([[-0.5, 10.0], [-0.5, 31.0], [21.0, 31.0], [21.0, 10.0]])
    found = rasterise(Area(((ring,),)), SIZE)
    assert found.faults == ()
    assert found.mask is not None
    assert found.mask.area == 400


# -- LabelMe ------------------------------------------------------------------------------------


def labelme(path: Path, *shapes: dict[str, Any], image: str = "a.png", **more: Any) -> Path:
    document = {"version": "5.4", "flags": {}, "shapes": shapes, "imagePath": image}
    path.write_text(
        json.dumps({**document, "imageData": None, "imageHeight": 20, "imageWidth": 30, **more})
    )
    return path


def shape(kind: str, points: Any, label: str = "organoid", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": None, **more}


def png(bits: NDArray[np.bool_]) -> str:
    data = io.BytesIO()
    Picture.fromarray(bits).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


def test_labelme_shapes_are_the_pixels_that_were_drawn(tmp_path: Path) -> None:
    bits = np.array([[True, False, True], [True, True, True]])
    path = labelme(
        tmp_path / "a.json",
        shape("polygon", [[2, 3], [8, 3], [8, 9], [2, 9]]),
        shape("rectangle", [[20, 15], [10, 5]], "box"),
        shape("circle", [[15, 10], [15, 14]]),
        shape("mask", [[4, 6], [6, 7]], mask=png(bits)),
        shape("point", [[1, 1]]),
        shape("linestrip", [[1, 1], [2, 2]]),
    )
    sheet, image = read_labelme(path)
    assert (image, sheet.size) == ("a.png", SIZE)
    assert sheet.skipped == {"point": 1, "linestrip": 1}
    polygon, box, circle, mask = sheet.drawn
    assert box.shape == Box(5, 10, 15, 20)
    found = drawn(Sheet((polygon, circle, mask)))
    assert np.array_equal(found[0], square(3, 2, 9, 8))
    assert found[1].sum() == pytest.approx(np.pi * 16, rel=0.08)
    assert np.array_equal(found[2][6:8, 4:7], bits)
    assert found[2].sum() == bits.sum()


def test_labelme_pieces_of_one_group_are_one_organoid(tmp_path: Path) -> None:
    path = labelme(
        tmp_path / "a.json",
        shape("polygon", [[2, 3], [8, 3], [8, 9], [2, 9]], group_id=1),
        shape("polygon", [[20, 3], [22, 3], [22, 9], [20, 9]], group_id=1),
        shape("polygon", [[20, 13], [22, 13], [22, 19], [20, 19]], "debris", group_id=1),
    )
    sheet, _ = read_labelme(path)
    assert [one.label for one in sheet.drawn] == ["organoid", "debris"]
    assert np.array_equal(drawn(sheet)[0], square(3, 2, 9, 8) | square(3, 20, 9, 22))


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (shape("circle", [[1, 1]]), "circle of 1 points"),
        (shape("rectangle", [[1, 1], [2, 2], [3, 3]]), "rectangle of 3 corners"),
        (shape("star", [[1, 1], [2, 2]]), "unknown kind"),
        (shape("mask", [[1, 1], [2, 2]], mask="!!!"), "no picture"),
        (shape("mask", [[1, 1], [2, 2]]), "without its pixels"),
        (shape("mask", [[0, 0], [99, 99]], mask=png(np.ones((99, 99), bool))), "larger than"),
    ],
)
def test_a_shape_that_labelme_would_not_write_is_a_fault_of_that_shape(
    tmp_path: Path, broken: dict[str, Any], fault: str
) -> None:
    good = shape("polygon", [[2, 3], [8, 3], [8, 9], [2, 9]])
    first, second = read_labelme(labelme(tmp_path / "a.json", good, broken))[0].drawn
    assert first.fault == ""
    assert fault in second.fault
    assert second.who == "shape 2"


def test_a_labelme_file_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"shapes": [{"points": "none"}]}')
    with pytest.raises(DataError, match=r"LabelMe file: shapes\.0\.points") as caught:
        read_labelme(tmp_path / "a.json")
    assert caught.value.where == str(tmp_path / "a.json")


# -- CVAT ---------------------------------------------------------------------------------------


def cvat(path: Path, *shapes: str, head: str = "") -> Path:
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?>{head}<annotations><version>1.1</version>'
        "<meta><task><name>t</name></task></meta>"
        f'<image id="0" name="sub/a.png" subset="Train" width="30" height="20">{"".join(shapes)}'
        '</image><image id="1" name="b.png" width="8" height="9"></image></annotations>'
    )
    return path


def test_cvat_shapes_are_the_pixels_that_were_drawn(tmp_path: Path) -> None:
    path = cvat(
        tmp_path / "a.xml",
        '<polygon label="cyst" source="manual" points="2.0,3.0;8.0,3.0;8.0,9.0;2.0,9.0" z_order="0">'
        '<attribute name="box">x</attribute></polygon>',
        '<ellipse label="cyst" cx="15" cy="10" rx="6" ry="4" />',
        '<box label="cyst" xtl="10" ytl="5" xbr="20" ybr="15" />',
        '<mask label="bud" source="auto" rle="1, 2, 1, 2" left="4" top="6" width="3" height="2" />',
        '<polyline label="x" points="1,1;2,2" /><points label="x" points="1,1" />',
    )
    (name, subset, sheet), (second, _, none) = read_cvat(path)
    assert (name, subset, sheet.size, second, none.size) == (
        "sub/a.png",
        "Train",
        SIZE,
        "b.png",
        (9, 8),
    )
    assert none.drawn == ()
    assert sheet.skipped == {"polyline": 1, "points": 1}
    polygon, ellipse, box, mask = sheet.drawn
    assert [one.label for one in sheet.drawn] == ["cyst", "cyst", "cyst", "bud"]
    assert (polygon.source, mask.source) == ("manual", "auto")
    assert box.shape == Box(5, 10, 15, 20)
    found = drawn(Sheet((polygon, ellipse, mask)))
    assert np.array_equal(found[0], square(3, 2, 9, 8))
    assert found[1].sum() == pytest.approx(np.pi * 24, rel=0.08)
    # Row by row: 1 outside, 2 inside | 1 outside, 2 inside.
    assert np.array_equal(found[2], square(6, 5, 8, 7))


def test_cvat_pieces_of_one_group_are_one_organoid(tmp_path: Path) -> None:
    path = cvat(
        tmp_path / "a.xml",
        '<mask label="a" group_id="3" rle="0, 4" left="4" top="6" width="2" height="2" />',
        '<mask label="a" group_id="3" rle="0, 2" left="10" top="1" width="2" height="1" />',
        '<mask label="a" group_id="0" rle="0, 1" left="1" top="1" width="1" height="1" />',
    )
    ((_, _, sheet), _) = read_cvat(path)
    assert drawn(sheet).sum(axis=(1, 2)).tolist() == [6, 1]


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ('<polygon label="a" points="1,2;x,y;3,4" />', "no numbers"),
        ('<polygon label="a" />', "missing"),
        ('<mask label="a" rle="0, 5" left="0" top="0" width="2" height="2" />', "do not fill"),
        ('<mask label="a" rle="0, 9" left="0" top="0" width="99999" height="99999" />', "larger"),
        ('<star label="a" />', "unknown kind"),
    ],
)
def test_a_shape_that_cvat_would_not_write_is_a_fault_of_that_shape(
    tmp_path: Path, broken: str, fault: str
) -> None:
    ((_, _, sheet), _) = read_cvat(cvat(tmp_path / "a.xml", broken))
    assert fault in sheet.drawn[0].fault


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><annotations/>', "document type"),
        (
            '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotations>&b;</annotations>',
            "document type",
        ),
        ("<annotations><track/></annotations>", "video"),
        ("<html/>", "begins with <html>"),
        ("<annotations><image/></annotations>", "no name or size"),
        ("<annotations>", "Not valid XML"),
    ],
)
def test_xml_that_could_do_harm_or_is_something_else_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "a.xml").write_text(text)
    with pytest.raises(DataError, match=reason) as caught:
        read_cvat(tmp_path / "a.xml")
    assert caught.value.where == str(tmp_path / "a.xml")


# -- GeoJSON, ROIs, boxes -----------------------------------------------------------------------


def test_qupath_features_of_every_form(tmp_path: Path) -> None:
    ring = [[2, 3], [8, 3], [8, 9], [2, 9], [2, 3]]
    hole = [[4, 5], [6, 5], [6, 7], [4, 7], [4, 5]]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [ring, hole]},
            "properties": {"classification": {"names": ["Cyst", "large"]}},
        },
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}},
        {"type": "Feature", "geometry": None},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [[["a", 2]]]}},
    ]
    (tmp_path / "a.json").write_text(json.dumps(features))
    sheet = read_geojson(tmp_path / "a.json")
    assert sheet.skipped == {"Point": 1, "nothing": 1}
    first, broken = sheet.drawn
    assert first.label == "Cyst: large"
    assert np.array_equal(drawn(Sheet((first,)))[0], square(3, 2, 9, 8) & ~square(5, 4, 7, 6))
    assert "not numbers" in broken.fault
    assert broken.who == "feature 4"


def test_imagej_ovals_rectangles_and_lines(tmp_path: Path) -> None:
    kinds = roifile.ROI_TYPE
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        for name, kind in (("oval", kinds.OVAL), ("rect", kinds.RECT), ("line", kinds.LINE)):
            roi = roifile.ImagejRoi(roitype=kind, name=name, top=2, left=4, bottom=12, right=20)
            bundle.writestr(f"{name}.roi", roi.tobytes())
        bundle.writestr("broken.roi", b"Iout and nothing else")
        bundle.writestr("__MACOSX/._oval.roi", b"junk")
    oval, rect, broken = read_rois(tmp_path / "a.zip").drawn
    assert read_rois(tmp_path / "a.zip").skipped == {"line": 1}
    assert rect.shape == Box(2, 4, 12, 20)
    assert oval.shape == Ellipse(7, 12, 5, 8)
    assert "damaged ROI" in broken.fault


def test_rois_of_several_slices_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        for position in (1, 2):
            roi = roifile.ImagejRoi.frompoints([[1, 1], [5, 1], [5, 5]], position=position)
            bundle.writestr(f"{position}.roi", roi.tobytes())
    with pytest.raises(DataError, match="2 slices"):
        read_rois(tmp_path / "a.zip")


def test_the_organoid_counter_counts_rows_with_x(tmp_path: Path) -> None:
    box = {"x1": "2", "y1": "5", "x2": "9", "y2": "25", "box_id": 1, "confidence": 1}
    (tmp_path / "a.json").write_text(json.dumps({"1": box}))
    (found,) = read_boxes(tmp_path / "a.json").drawn
    assert (found.who, found.shape) == ("box 1", Box(2, 5, 9, 25))


# -- label images -------------------------------------------------------------------------------


LABELS = np.array([[0, 0, 1], [300, 300, 1]], np.uint16)


def test_label_images_are_read_as_numbers_whatever_holds_them(tmp_path: Path) -> None:
    Picture.fromarray(LABELS).save(tmp_path / "wide.png")
    tifffile.imwrite(tmp_path / "a.tif", LABELS.astype(np.float32))
    np.save(tmp_path / "a.npy", LABELS)
    for name in ("wide.png", "a.tif", "a.npy"):
        assert np.array_equal(read_label_image(tmp_path / name), LABELS)
    small = (LABELS % 256).astype(np.uint8)
    palette = Picture.fromarray(small, "P")
    palette.putpalette([7, 9, 11] * 256)  # every number has the same colour
    palette.save(tmp_path / "palette.png")
    Picture.fromarray(np.stack([small] * 3, axis=-1)).save(tmp_path / "rgb.png")
    for name in ("palette.png", "rgb.png"):
        assert np.array_equal(read_label_image(tmp_path / name), small)


def test_what_is_no_label_image_is_refused_with_the_reason(tmp_path: Path) -> None:
    colour = np.zeros((4, 4, 3), np.uint8)
    colour[0, 0] = (1, 2, 3)
    Picture.fromarray(colour).save(tmp_path / "colour.png")
    Picture.fromarray(colour).save(tmp_path / "a.jpg")
    tifffile.imwrite(tmp_path / "half.tif", np.full((3, 3), 0.5, np.float32))
    tifffile.imwrite(tmp_path / "minus.tif", np.full((3, 3), -1, np.int16))
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 7, 6), np.uint8))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}]), allow_pickle=True)
    (tmp_path / "torn.png").write_bytes((tmp_path / "colour.png").read_bytes()[:40])
    for name, reason in {
        "colour.png": "in colour",
        "a.jpg": "JPEG",
        "half.tif": "fractions",
        "minus.tif": "no organoid has",
        "stack.tif": "shape",
        "pickle.npy": "Cannot be read",
        "torn.png": "Cannot be read",
    }.items():
        with pytest.raises(DataError, match=reason) as caught:
            read_label_image(tmp_path / name)
        assert caught.value.where == str(tmp_path / name)


def test_masks_keep_their_place(tmp_path: Path) -> None:
    found = rasterise(Pixels(np.ones((2, 3), np.bool_), 4, 5), SIZE).mask
    assert found is not None
    assert isinstance(found, Mask)
    assert found.box == (4, 5, 6, 8)
