"""The page as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from organoseg.core import write_text
from organoseg.inference.page.charts import histogram
from organoseg.inference.page.gallery import gallery
from organoseg.inference.page.plate import plates
from organoseg.inference.page.style import CSS, POLICY, SCRIPT
from organoseg.inference.page.summary import Summary, summarise
from organoseg.inference.page.tables import by_group, by_picture
from organoseg.inference.page.words import counted, duration, figure, text
from organoseg.inference.part import Part

#: Names that are listed under a remark; the table of pictures has the rest.
_LISTED = 50


def write_report(
    path: Path,
    parts: Iterable[Part],
    run: Mapping[str, Any],
    failures: Sequence[tuple[str, str]],
    extra_sections: Sequence[str] = (),
) -> None:
    """Write the run's page for people, atomically: one file that loads nothing from anywhere.

    Parameters
    ----------
    path
        Overlays are linked where they lie beside it, as ``overlay/KEY.png``.
    parts
        Read once; a part's masks are not read.
    run
        What ``run_facts`` gives.
    failures
        (file, reason) of files without results.
    extra_sections
        Further <section> elements of HTML, trusted as they are.

    Raises
    ------
    RunError
        The disk does not take it.
    """
    write_text(path, render(summarise(parts), run, failures, path.parent, extra_sections))


def render(
    summary: Summary,
    run: Mapping[str, Any],
    failures: Sequence[tuple[str, str]],
    folder: Path,
    extra_sections: Sequence[str] = (),
) -> str:
    """The page as HTML text."""
    body = "".join(
        [
            f"<h1>{counted(summary.count, 'organoid')} in {counted(len(summary.pictures), 'picture')}</h1>",
            f'<p class="lead">{_lead(summary)}</p>',
            _cards(summary, failures),
            _remarks(summary, failures, str(run.get("threshold_note", ""))),
            plates(summary),
            _sizes(summary),
            by_group(summary),
            *extra_sections,
            gallery(summary, folder),
            by_picture(summary, folder) if summary.pictures else "",
            _how(run),
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>organoseg: {counted(summary.count, 'organoid')}</title><style>{CSS}</style></head>"
        f"<body><main>{body}</main><script>{SCRIPT}</script></body></html>\n"
    )


def _lead(summary: Summary) -> str:
    sizes = summary.sizes()
    if not summary.pictures:
        return "No picture could be segmented; the reasons are below."
    if not sizes.size:
        return "No organoid lies wholly inside a picture, so there are no sizes to tell."
    first, middle, third = np.percentile(sizes, [25, 50, 75])
    kinds = summary.classes()
    named = ", ".join(f"{text(name)}: {figure(count)}" for name, count in kinds.items())
    by_class = f" By class: {named}." if len(kinds) > 1 else ""
    known = sum(p.count for p in summary.pictures if p.diameters_um is not None)
    if summary.unit == "µm" and known < summary.count:
        return (
            f"The pixel size is known for {figure(known)} of the {figure(summary.count)} organoids only; half of those "
            f"measured in µm have a diameter between {figure(first)} and {figure(third)} µm, the median is "
            f"{figure(middle)} µm. Nothing is said here of the others' sizes.{by_class}"
        )
    return (
        f"Half of the organoids have a diameter between {figure(first)} and {figure(third)} {summary.unit}, "
        f"the median is {figure(middle)} {summary.unit}.{by_class}"
    )


def _cards(summary: Summary, failures: Sequence[tuple[str, str]]) -> str:
    counts = [picture.count for picture in summary.pictures]
    sizes = summary.sizes()
    cards = [
        (figure(len(counts)), "pictures segmented", ""),
        (figure(summary.count), "organoids", ""),
        (figure(float(np.median(counts)) if counts else None), "in a picture (median)", ""),
        (
            f"{figure(float(np.median(sizes)))} {summary.unit}" if sizes.size else "–",
            "diameter (median)",
            "",
        ),
    ]
    if failures:
        cards.append((figure(len(failures)), "files without a result", " bad"))
    shown = "".join(
        f'<div class="card{kind}"><b>{value}</b>{title}</div>' for value, title, kind in cards
    )
    return f'<div class="cards">{shown}</div>'


def _remarks(summary: Summary, failures: Sequence[tuple[str, str]], first: str = "") -> str:
    parts = [_remark(first, ())] if first else []
    if failures:
        parts.append(
            _remark(
                f"{counted(len(failures), 'file')} gave no result; errors.csv has all of them.",
                [f"{name}: {reason}" for name, reason in failures],
                bad=True,
            )
        )
    parts += [_remark(warning, keys) for warning, keys in summary.remarks()]
    empty = [picture.key for picture in summary.pictures if not picture.count]
    if empty:
        parts.append(_remark("No organoid was found in some pictures.", empty))
    unknown = [picture.key for picture in summary.pictures if picture.diameters_um is None]
    if unknown and summary.unit == "µm":
        parts.append(
            _remark(
                "The pixel size of some pictures is unknown: their organoids are counted, but are not among the sizes "
                "in µm. Give --pixel-size to have them.",
                unknown,
            )
        )
    elif unknown:
        parts.append(
            _remark(
                "The pixel size is unknown, so sizes are in pixels. Give --pixel-size to have them in µm.",
                (),
            )
        )
    return f"<section><h2>Please note</h2>{''.join(parts)}</section>" if parts else ""


def _remark(sentence: str, names: Sequence[str], bad: bool = False) -> str:
    listed = "".join(f"<li>{text(name)}</li>" for name in names[:_LISTED])
    if len(names) > _LISTED:
        listed += f"<li>and {len(names) - _LISTED} more</li>"
    opened = " open" if bad and len(names) <= 5 else ""
    title = counted(len(names), "file" if bad else "picture")
    which = (
        f"<details{opened}><summary>{title}</summary><ul>{listed}</ul></details>" if names else ""
    )
    return f'<div class="remark{" bad" if bad else ""}"><p>{text(sentence)}</p>{which}</div>'


def _sizes(summary: Summary) -> str:
    sizes = summary.sizes()
    chart = histogram(sizes, f"equivalent diameter, {summary.unit}")
    if not chart:
        return ""
    cut = sum(picture.border for picture in summary.pictures)
    without = (
        f" {counted(cut, 'organoid')} cut by a picture's border {'is' if cut == 1 else 'are'} counted but left out "
        "of all sizes, as one cannot know how far they reach."
        if cut
        else ""
    )
    return (
        "<section><h2>Sizes</h2><p>The equivalent diameter is that of a disc with the organoid's area."
        f"{without}</p>{chart}</section>"
    )


def _how(run: Mapping[str, Any]) -> str:
    rows = [(name, value) for name, value in _facts(run) if value not in ("", "None")]
    listed = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows)
    return (
        f"<section><h2>How it was made</h2><dl>{listed}</dl>"
        '<p class="soft">run.json has all of this for programs, with the hash of every picture. A model finds what it '
        "was shown: look at a few overlays before you trust the figures of a new kind of picture.</p></section>"
    )


def _facts(run: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    model = run.get("model", {})
    machine = run.get("machine", {})
    yield "organoseg", str(run.get("organoseg", ""))
    yield "model", str(model.get("identity", "")) if isinstance(model, Mapping) else str(model)
    settings = dict(run.get("settings", {}))
    settings.pop("model", None)  # said above
    for name, value in settings.items():
        yield str(name).replace("_", " "), _said(value)
    yield "started", str(run.get("started", "")).replace("T", " ")
    if "seconds" in run:
        yield "took", duration(float(run["seconds"]))
    if isinstance(machine, Mapping):
        yield "machine", ", ".join(str(v) for k, v in machine.items() if k in ("system", "device"))


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return str(value)
