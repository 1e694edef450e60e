"""Pictures and page of the report, on a few synthetic images."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from organoseg.core import Image, Instances, Mask
from organoseg.dataset import LabelledImage
from organoseg.evaluation import evaluate
from organoseg.report import DemoReport, Method, gallery, overlay, write_demo_report
from organoseg.report.chart import learning_curves
from organoseg.report.demo import crowded_windows, gallery_rows, typical_images
from organoseg.report.verdict import FOUND, INVENTED, MISSED, judge

SHAPE = (48, 64)


def disc(y: int, x: int, radius: int = 8) -> Mask:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    mask = Mask.from_bits((rows - y) ** 2 + (columns - x) ** 2 <= radius**2)
    assert mask is not None
    return mask


def labelled(name: str, *masks: Mask) -> LabelledImage:
    pixels = np.random.default_rng(len(masks)).integers(80, 160, SHAPE).astype(np.uint8)
    return LabelledImage(Image(pixels, name=name), Instances.from_masks(SHAPE, masks))


def report(better: bool = True, **fields: object) -> DemoReport:
    test = (
        labelled("a.png", disc(12, 12), disc(14, 20), disc(30, 50)),
        labelled("b.png", disc(20, 30)),
        labelled("<c>.png"),
    )
    truth = {item.name: item.instances for item in test}
    few = {name: one.select(slice(0, 1)) for name, one in truth.items()}
    pair = (few, truth) if better else (truth, few)
    methods = [
        Method(label, f"How {label} works.", evaluate(found, truth, bootstrap=20), found, curve)
        for label, found, curve in zip(
            ("supervised", "guided"),
            pair,
            ([(0, 0.0), (10, 0.4)], [(0, 0.0), (10, 0.41)]),
            strict=True,
        )
    ]
    return DemoReport(test, methods, 8, 200, 10, 75.0, **fields)  # type: ignore[arg-type]


class Tags(HTMLParser):
    """Collects links to the outside, and whether the tags are balanced."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An SVG element that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_outline_lies_on_the_border_and_spares_the_inside() -> None:
    pixels = np.zeros(SHAPE, np.uint16)
    one = Instances.from_masks(SHAPE, [disc(20, 30)])
    picture = overlay(pixels, one, colours=[(255, 0, 0)])
    red = (picture == (255, 0, 0)).all(axis=2)
    assert red[20, 22]
    assert not red[20, 30]
    assert not (red & ~one.to_dense()[0]).any()
    dashed = overlay(pixels, one, colours=[(255, 0, 0)], dashed=[True])
    assert 0 < (dashed == (255, 0, 0)).all(axis=2).sum() < red.sum()


def test_shared_pixels_are_tinted() -> None:
    two = Instances.from_masks(SHAPE, [disc(20, 20), disc(20, 28)])
    picture = overlay(np.zeros(SHAPE, np.uint8), two).astype(int)
    assert picture[20, 24].tolist() != [128, 128, 128]
    assert picture[20, 16].tolist() == [128, 128, 128]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_pixel_type_and_zoom_gives_a_picture(dtype: type) -> None:
    pixels = np.arange(48 * 64).reshape(SHAPE).astype(dtype)
    picture = overlay(pixels, Instances.from_masks(SHAPE, [disc(20, 20)]), zoom=3, labels=True)
    assert picture.shape == (144, 192, 3)
    assert picture.dtype == np.uint8


def test_organoids_of_another_image_are_refused() -> None:
    with pytest.raises(ValueError, match="over an image"):
        overlay(np.zeros((5, 5), np.uint8), Instances.empty(SHAPE))


def test_verdict_tells_found_invented_and_missed() -> None:
    truth = Instances.from_masks(SHAPE, [disc(12, 12), disc(30, 50)])
    found = Instances.from_masks(
        SHAPE, [disc(36, 12), disc(12, 13), disc(30, 50)], scores=[0.9, 0.8, 0.2]
    )
    verdict = judge(found, truth, score=0.5)
    assert verdict.caption == "1 found, 1 missed, 1 invented"
    assert verdict.colours == (INVENTED, FOUND, MISSED)
    assert verdict.dashed == (False, False, True)


def test_gallery_has_a_panel_for_each_method() -> None:
    data = report()
    rows = gallery_rows(data, ["a.png", "b.png"])
    picture = gallery(rows, zoom=2)
    assert picture.shape[1] > 4 * 128
    assert picture.shape[0] > 2 * 96
    with pytest.raises(ValueError, match="rows"):
        gallery([])


def test_images_are_chosen_by_overlap_not_by_result() -> None:
    data = report()
    assert typical_images(data, 2) == ["<c>.png", "a.png"]
    assert set(typical_images(data)) == {"a.png", "b.png", "<c>.png"}
    windows = crowded_windows(data, size=32)
    assert [window.name for window in windows] == ["a.png"]


def test_report_is_one_whole_page_without_links(tmp_path: Path) -> None:
    picture, page = write_demo_report(tmp_path, report(remarks=("The guard <fired>.",)))
    with Picture.open(picture) as opened:
        assert opened.format == "PNG"
    text = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.sources
    assert all(source.startswith("data:image/") for source in tags.sources)
    assert "http" not in text.replace("http-equiv", "")
    assert "The guard &lt;fired&gt;." in text
    assert "&lt;c&gt;.png" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text)
    assert "1 min 15 s" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery.png", "report.html"]


def test_report_says_when_guidance_lost(tmp_path: Path) -> None:
    _, page = write_demo_report(tmp_path, report(better=False))
    text = page.read_text(encoding="utf-8")
    assert "The unlabelled images helped" not in text
    assert "hurt" in text or "too few to be sure" in text


def test_page_without_curves_or_overlaps(tmp_path: Path) -> None:
    test = (labelled("a.png", disc(20, 20)),)
    truth = {"a.png": test[0].instances}
    nothing = {"a.png": Instances.empty(SHAPE)}
    methods = [
        Method("supervised", "x", evaluate(nothing, truth, bootstrap=0), nothing),
        Method("guided", "y", evaluate(nothing, truth, bootstrap=0), nothing),
    ]
    _, page = write_demo_report(tmp_path, DemoReport(test, methods, 1, 0, 5, 1.0))
    text = page.read_text(encoding="utf-8")
    assert "<svg" not in text
    assert "was not tested" in text
    assert learning_curves({}) == ""
