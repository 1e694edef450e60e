"""report.html: one file, readable without a network, in words for a biologist."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from organoseg.core import write_text
from organoseg.evaluation import ap_difference
from organoseg.report import words
from organoseg.report.chart import COLOURS, learning_curves
from organoseg.report.demo import (
    DemoReport,
    Window,
    crowded_windows,
    gallery_rows,
    typical_images,
)
from organoseg.report.gallery import GalleryRow, Panel, panels, write_gallery
from organoseg.report.overlay import Colour, Rgb
from organoseg.report.style import CSS
from organoseg.report.tables import how_good
from organoseg.report.verdict import FOUND, INVENTED, MISSED


def write_demo_report(out: Path, data: DemoReport) -> tuple[Path, Path]:
    """Write gallery.png and report.html into the folder `out`; returns both paths.

    Each appears when it is whole. Every test image must be in each method's predictions
    (KeyError otherwise).
    """
    rows = gallery_rows(data, typical_images(data))
    picture, page = out / "gallery.png", out / "report.html"
    write_gallery(picture, rows)
    write_text(page, render(data, rows))
    return picture, page


def render(data: DemoReport, rows: Sequence[GalleryRow]) -> str:
    """The page as HTML text; `rows` are the images it shows."""
    first, last = data.methods[0], data.methods[-1]
    gain, spread = ap_difference(first.predictions, last.predictions, data.truth, seed=data.seed)
    body = "".join(
        [
            "<h1>organoseg demo: finding organoids from few labels</h1>",
            f'<p class="lead">{escape(words.verdict(data, gain, spread))}</p>',
            _cards(data),
            _remarks(data),
            _what_was_done(data),
            how_good(data),
            _curves(data),
            _overlaps(data),
            _pictures(data, rows),
            _next_steps(data),
            _footer(data),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>organoseg demo</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _cards(data: DemoReport) -> str:
    cards = []
    for number, method in enumerate(data.methods):
        point = method.evaluation.best
        cards.append(
            f'<div class="card" style="border-top-color:{COLOURS[number % len(COLOURS)]}">'
            f"<h3>{escape(method.label.capitalize())} training</h3>"
            f"<b>{words.percent(point.recall)}</b>of the organoids found"
            f"<p>{escape(words.counts(method))} in {len(data.test)} test images.</p></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _remarks(data: DemoReport) -> str:
    lines = "".join(f'<p class="remark">{escape(remark)}</p>' for remark in data.remarks)
    return f"<section><h2>Please note</h2>{lines}</section>" if lines else ""


def _what_was_done(data: DemoReport) -> str:
    source = (
        "The images are drawn by the computer to look like brightfield microscopy: transparent "
        "round, cystic and budding organoids that may lie over each other, some out of focus, with "
        "debris, an uneven background and noise. Every outline is therefore known exactly. On your "
        "own images the figures will differ."
        if data.synthetic
        else ""
    )
    methods = "".join(
        f"<dt>{escape(method.label.capitalize())} training</dt>"
        f"<dd>{escape(method.explanation)}</dd>"
        for method in data.methods
    )
    return (
        "<section><h2>What was done</h2>"
        f"<p>A program was trained to outline each organoid, from {data.labelled} images with "
        f"outlines and {data.unlabelled} images without any. It was then tried on "
        f"{len(data.test)} images that it had never seen.</p>"
        f"<p>{source}</p><dl>{methods}</dl>"
        f"<p>All were trained for the same number of steps ({data.steps}).</p></section>"
    )


def _curves(data: DemoReport) -> str:
    chart = learning_curves({method.label: method.curve for method in data.methods})
    if not chart:
        return ""
    return (
        "<section><h2>How it learned</h2><p>AP on a few images kept aside, while training went on. "
        "A line that still climbs at the end would gain from more steps.</p>"
        f"{chart}</section>"
    )


def _overlaps(data: DemoReport) -> str:
    windows = crowded_windows(data)
    rows = gallery_rows(data, [window.name for window in windows])
    pictures = "".join(_closeup(*pair) for pair in zip(windows, rows, strict=True))
    heads = _legend() + _heads(rows[0]) if rows else ""
    return (
        "<section><h2>Where organoids lie over each other</h2>"
        "<p>In brightfield an organoid shines through another one. Here each keeps its whole "
        "outline; none is cut to make room for its neighbour.</p>"
        f"<p>{escape(words.overlap(data))}</p>{heads}{pictures}</section>"
    )


def _pictures(data: DemoReport, rows: Sequence[GalleryRow]) -> str:
    if not rows:
        return ""
    zoom = max(1, round(500 / max(row.pixels.shape[1] for row in rows)))
    return (
        "<section><h2>Pictures</h2>"
        f"<p>{len(rows)} of the {len(data.test)} test images, chosen evenly from few to many "
        "overlaps, not for their results.</p>"
        f"{_legend()}{_heads(rows[0])}{''.join(_grid(row, zoom) for row in rows)}</section>"
    )


def _legend() -> str:
    entries = (
        (_css(FOUND), "found"),
        (_css(INVENTED), "invented"),
        (_css(MISSED), "missed (dashed)"),
        ("rgb(200,60,255)", "tinted: where outlines overlap"),
    )
    spans = "".join(f'<span><i style="background:{c}"></i>{text}</span>' for c, text in entries)
    return f'<div class="legend">{spans}<span>labels: each its own colour</span></div>'


def _css(colour: Colour) -> str:
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def _heads(row: GalleryRow) -> str:
    titles = ("image", "labels", *row.found)
    cells = "".join(f'<div class="head">{escape(title)}</div>' for title in titles)
    return f'<div class="grid" style="{_columns(len(titles))}">{cells}</div>'


def _grid(row: GalleryRow, zoom: int) -> str:
    return _figures(panels(row, zoom))


def _figures(shown: Sequence[Panel]) -> str:
    figures = "".join(
        f'<figure><img alt="{escape(p.caption)}" src="{_jpeg(p.picture)}">'
        f"<figcaption>{escape(p.caption)}</figcaption></figure>"
        for p in shown
    )
    return f'<div class="grid" style="{_columns(len(shown))}">{figures}</div>'


def _closeup(window: Window, row: GalleryRow) -> str:
    """A window of the pictures of the whole image, so that the verdicts are those of the whole."""
    zoom = 4
    y, x, size = window.y * zoom, window.x * zoom, window.size * zoom
    figures = [
        Panel(p.picture[y : y + size, x : x + size], f"part of {row.name}" if number == 0 else "")
        for number, p in enumerate(panels(row, zoom))
    ]
    return _figures(figures)


def _columns(count: int) -> str:
    return f"grid-template-columns:repeat({count},1fr)"


def _jpeg(picture: Rgb) -> str:
    from PIL import Image as Picture

    buffer = io.BytesIO()
    # Full colour resolution, as thin coloured lines would smear without it.
    Picture.fromarray(picture).save(buffer, "JPEG", quality=85, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _next_steps(data: DemoReport) -> str:
    commands = escape(
        "organoseg archive create PLATES --out archive.zarr\n"
        "organoseg train RECIPE.yaml --out runs/first\n"
        "organoseg predict PLATES --model runs/first/model --out results\n"
        "organoseg evaluate --predictions results/instances.json --ground-truth test.json"
    )
    return (
        "<section><h2>What to do next</h2>"
        "<p><b>Label a few of your own images.</b> 5 to 15 are a start. Take them from different "
        "wells and days, and outline each organoid whole, also where another one covers it. Keep "
        "a few more aside as a test: figures like those above are only as good as that test.</p>"
        "<p><b>Gather your unlabelled images</b> in a folder: the more of the same kind, the "
        "better.</p><p><b>Train, predict and look.</b> The README explains each line:</p>"
        f"<pre>{commands}</pre></section>"
    )


def _footer(data: DemoReport) -> str:
    from organoseg import __version__

    times = ", ".join(f"{m.label} {words.duration(m.seconds)}" for m in data.methods if m.seconds)
    trained = f" Training: {times}." if times else ""
    return (
        f"<footer>organoseg {escape(__version__)}, seed {data.seed}, {data.steps} steps a method, "
        f"{words.duration(data.seconds)} in all.{escape(trained)} The figures are in summary.json, "
        "the pictures in gallery.png, beside this page.</footer>"
    )
