"""A room imports only from the floors below its own (docs/architecture.md)."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FLOORS = {
    "core": 0,
    "io": 1,
    "archive": 2,
    "dataset": 2,
    "models": 3,
    "evaluation": 3,
    "distill": 4,
    "inference": 4,
    "tracking": 4,
    "review": 4,
    "report": 5,
    "training": 6,
    "demo": 7,
    "cli": 8,
}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of every import in the file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


@pytest.mark.parametrize("room", FLOORS)
def test_a_room_stands_on_lower_floors_only(repository: Path, room: str) -> None:
    wrong = []
    for path in sorted((repository / "organoseg" / room).rglob("*.py")):
        for line, name in imported(path):
            other = name.split(".")[1] if name.startswith("organoseg.") else room
            if other in FLOORS and other != room and FLOORS[other] >= FLOORS[room]:
                wrong.append(f"{path.relative_to(repository)}:{line} imports {name}")
    assert wrong == []


def test_every_room_has_a_floor_here_and_in_the_docs(repository: Path) -> None:
    rooms = {p.parent.name for p in (repository / "organoseg").glob("*/__init__.py")}
    assert rooms == set(FLOORS)
    page = (repository / "docs" / "architecture.md").read_text()
    table = re.findall(r"^\| (\d) \| (`.+?) \|", page, re.MULTILINE)
    stated = {name: int(floor) for floor, names in table for name in re.findall(r"`(\w+)`", names)}
    assert {room: stated.get(room) for room in FLOORS} == FLOORS
