"""The site is built without a warning, and what is generated for it says what the program says."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

from organoseg.cli.examples import walk
from organoseg.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("mkdocs", reason="mkdocs is not installed (part `docs`)")
pytest.importorskip("material", reason="mkdocs-material is not installed (part `docs`)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    return out


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := values.get(key))}
        for key in ("href", "src"):
            if tag != "base" and (value := values.get(key)):
                self.links.append(value)


def test_every_link_of_the_built_pages_leads_somewhere(site: Path) -> None:
    pages = {path: _Links() for path in site.rglob("*.html") if path.name != "404.html"}
    for path, links in pages.items():
        links.feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, links in pages.items():
        for link in links.links:
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = unquote(link).partition("#")
            to = (path.parent / target).resolve() if target else path
            wanted = pages.get(to)
            if not to.exists() or (anchor and wanted is not None and anchor not in wanted.ids):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_the_pages_need_no_network(site: Path) -> None:
    """Fonts, scripts and styles lie beside the pages; only words link elsewhere."""
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]+src=\"?(https?:[^\" >]+)", text)
        loaded += re.findall(
            r"<link[^>]+rel=\"?(?:stylesheet|preconnect)[^>]+href=\"?(https?:[^\" >]+)", text
        )
        assert loaded == [], path.name


def test_croissant_of_every_card_is_on_the_site(site: Path) -> None:
    for card in (ROOT / "data_cards").glob("*.md"):
        made = json.loads((site / "data" / f"{card.stem}.json").read_text())
        assert made["conformsTo"].endswith("/1.1")
        assert (site / "data" / f"{card.stem}.html").is_file()


def test_the_reference_has_every_verb_and_option(hooks: ModuleType) -> None:
    page = hooks.cli_page()
    for name, parser in walk(build_parser()):
        section = page.partition(f"\n## organoseg {name}\n")[2].partition("\n## ")[0]
        assert section, name
        options = [o for a in parser._actions for o in a.option_strings if o.startswith("--")]
        absent = {o for o in options if f"`{o}" not in section and f", {o}" not in section}
        assert absent <= {"--help", "--verbose", "--quiet"}, name


def test_the_reference_of_recipes_has_every_key(hooks: ModuleType) -> None:
    from organoseg.training.recipe import Recipe

    page = hooks.recipe_page()
    parts = [Recipe.model_json_schema(), *Recipe.model_json_schema()["$defs"].values()]
    keys = {key for part in parts for key in part.get("properties", {})}
    assert [key for key in keys if f"| `{key}` |" not in page] == []


@pytest.mark.parametrize(
    ("written", "led"),
    [
        ("[a](../data_cards/synthetic.md)", "[a](data/synthetic.md)"),
        ("[a](../configs/guided.yaml)", "[a](configs/guided.yaml)"),
        ("[a](docs/archive.md#grammar)", "[a](archive.md#grammar)"),
        ("[a](https://example.org/docs/a.md)", "[a](https://example.org/docs/a.md)"),
    ],
)
def test_links_that_leave_the_folder_are_led_to_the_site(
    hooks: ModuleType, written: str, led: str
) -> None:
    class Source:
        src_uri = "page.md"

    class Page:
        file = Source

    assert hooks.on_page_markdown(written, Page) == led


def test_every_page_that_people_write_is_checked_for_links_on_disk() -> None:
    """GitHub shows the pages as they lie: their links must lead somewhere there, too."""
    broken = []
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "data_cards").glob("*.md")]
    for page in [*pages, ROOT / "CONTRIBUTING.md", ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if not re.match(r"[a-z]+:", target) and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []
