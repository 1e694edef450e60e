"""The section of the report with the figures, and what they mean."""

from collections.abc import Callable, Sequence
from html import escape

from organoseg.report import words
from organoseg.report.demo import DemoReport, Method

_MEANING = (
    "<dl><dt>AP50</dt><dd>Do organoids get found at all? 1 means: every one, none invented. "
    "An outline counts as right when it and the true one share at least half of the area "
    "they cover together.</dd>"
    "<dt>AP75</dt><dd>The same with a stricter eye: three quarters must be shared.</dd>"
    "<dt>AP</dt><dd>The mean from lenient (a half) to very strict (95 %). Use it to compare "
    "two programs.</dd>"
    "<dt>Small print under each figure</dt><dd>The range in which it would likely (95 %) lie "
    "with another draw of test images like these. Where the ranges of two rows overlap widely, "
    "do not read much into the difference.</dd></dl>"
)
_FOUND = (
    ("recall", "organoids found"),
    ("recall_isolated_at_threshold", "of those lying free"),
    ("recall_overlapping_at_threshold", "of those lying over others"),
    ("precision", "outlines that are right"),
)


def how_good(data: DemoReport) -> str:
    """Both tables with their explanation: a <section>."""
    return (
        f"<section><h2>How good it is</h2>{_scores(data)}{_MEANING}{_shares(data)}"
        f'<p class="soft">{escape(_thresholds(data))}</p></section>'
    )


def _scores(data: DemoReport) -> str:
    names = ("AP", "AP50", "AP75")
    rows = [
        (method.label, [_cell(method, name, words.number) for name in names])
        for method in data.methods
    ]
    return _table(names, rows)


def _shares(data: DemoReport) -> str:
    rows = [
        (
            method.label,
            [_cell(method, name, words.percent) for name, _ in _FOUND]
            + [escape(words.bias(method.evaluation))],
        )
        for method in data.methods
    ]
    return _table((*(title for _, title in _FOUND), "count in an image"), rows)


def _table(titles: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for label, cells in rows
    )
    return f'<div class="scroll"><table><tr><th></th>{head}</tr>{body}</table></div>'


def _cell(method: Method, name: str, form: Callable[[float], str]) -> str:
    """A figure of `Evaluation.to_dict` with its interval, where it has one."""
    figures = method.evaluation.to_dict()
    value = figures[name]
    text = form(float("nan") if value is None else value)
    low, high = figures["intervals"].get(name, (None, None))
    return text if low is None else f"{text}<br><small>{form(low)} to {form(high)}</small>"


def _thresholds(data: DemoReport) -> str:
    parts = [f"{m.evaluation.best.threshold:.2f} ({m.label})" for m in data.methods]
    return (
        "Each outline comes with a score. This table and the pictures keep those with a score of "
        f"at least {', '.join(parts)}: where found and invented organoids balance best on these "
        "images. A lower limit finds more and invents more."
    )
