"""Tutorials as programs: the bash blocks of a page, in order, with what a test says of them in comments.

A block with ``title="Not run in the tests: REASON"`` is left out; the site does not show this. Before a block may stand

    <!-- test: not run: REASON -->      leave it out
    <!-- test: "OLD" -> "NEW" -->      shorten it: OLD has to be there
    <!-- test: may fail -->            its exit code does not count
    <!-- test: needs starter -->       only where the starter model is installed
    <!-- test: hidden
    COMMANDS -->                       run where a person does something by hand
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PARTS = re.compile(
    r"<!-- test: hidden\n(?P<hidden>.*?)-->"
    r"|<!-- test: (?P<order>.*?) -->"
    r"|^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_CHANGE = re.compile(r'"(?P<old>.*)" -> "(?P<new>.*)"$')
_REASON = re.compile(r'title="Not run in the tests: (?P<reason>.+)"')


@dataclass(frozen=True)
class Block:
    """Commands of a tutorial; `reason`: why they are not run, None where they are."""

    code: str
    reason: str | None = None
    may_fail: bool = False
    needs: str | None = None


def blocks_of(page: Path) -> list[Block]:
    """The bash blocks of a page and the hidden ones between them; ValueError for an order that nothing follows."""
    blocks: list[Block] = []
    orders: list[str] = []
    for found in _PARTS.finditer(page.read_text(encoding="utf-8")):
        if found["order"]:
            orders.append(found["order"])
        elif found["hidden"] is not None:
            blocks.append(Block(found["hidden"]))
        elif found["info"].split()[:1] == ["bash"]:
            blocks.append(_block(found["info"], found["code"], orders))
            orders = []
    if orders:
        raise ValueError(f"{page.name}: no bash block follows {orders}")
    return blocks


def _block(info: str, code: str, orders: list[str]) -> Block:
    told = _REASON.search(info)
    if told is not None:
        return Block(code, reason=told["reason"])
    may_fail, needs = False, None
    for order in orders:
        change = _CHANGE.match(order)
        if change is not None:
            if change["old"] not in code:
                raise ValueError(f"{change['old']!r} is not in the block:\n{code}")
            code = code.replace(change["old"], change["new"])
        elif order.startswith("not run: "):
            return Block(code, reason=order.removeprefix("not run: "))
        elif order == "may fail":
            may_fail = True
        elif order.startswith("needs "):
            needs = order.removeprefix("needs ")
        else:
            raise ValueError(f"what is <!-- test: {order} -->?")
    return Block(code, may_fail=may_fail, needs=needs)
