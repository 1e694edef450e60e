"""What `mkdocs build` adds to the pages that people write: references from the code, cards, the changelog.

Each page is made when the site is built, so it cannot lag behind the code.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
CARDS = sorted((ROOT / "data_cards").glob("*.md"))

#: Where a link that leaves docs/ leads on the site.
MOVED = (
    (r"(?:\.\./)*data_cards/(\w+)\.md", r"data/\1.md"),
    (r"(?:\.\./)*configs/([\w./]+\.yaml)", r"configs/\1"),
    (r"(?:\.\./)*CONTRIBUTING\.md", "contributing.md"),
    (r"(?:\.\./)*CHANGELOG\.md", "changelog.md"),
    (r"(?:\.\./)*docs/([\w./-]+\.md(?:#[\w-]+)?)", r"\1"),
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the method pages, the data cards and every page that mkdocs.yml does not name to the navigation."""
    sections = {name: pages for entry in config.nav or [] for name, pages in entry.items()}
    named = set(_named(config.nav or []))
    docs = ROOT / "docs"
    written = [path.relative_to(docs).as_posix() for path in sorted(docs.rglob("*.md"))]
    more = [name for name in written if name not in named]
    methods = [name for name in more if name.startswith(("methods.md", "methods/"))]
    # The index first, whatever the alphabet says of it.
    sections["Methods"][:0] = sorted(methods, key=lambda name: ("/" in name, name))
    sections["How to"] += [name for name in more if name not in methods]
    sections["Data"] += [f"data/{path.name}" for path in CARDS]
    return config


def _named(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(value, list):
                yield from _named(value)
            else:
                yield value


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the files that pages link to."""
    from organoseg.dataset.card import croissant, read_card

    def add(name: str, content: str) -> None:
        files.append(File.generated(config, name, content=content))

    add("reference/cli.md", cli_page())
    add("reference/recipe.md", recipe_page())
    add("contributing.md", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    add("changelog.md", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    for path in CARDS:
        card = read_card(path)
        add(f"data/{path.stem}.json", json.dumps(croissant(card), indent=2, ensure_ascii=False))
        add(f"data/{path.name}", card_page(path.read_text(encoding="utf-8"), path.stem))
    for path in sorted((ROOT / "configs").rglob("*.yaml")):
        name = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lead links that leave docs/ to where the site has their targets; what only tests read is not shown."""
    markdown = re.sub(
        r'^(```\w+) title="Not run in the tests: [^"\n]*"$', r"\1", markdown, flags=re.M
    )
    up = "../" * page.file.src_uri.count("/")
    for pattern, target in MOVED:
        markdown = re.sub(rf"\]\({pattern}\)", rf"]({up}{target})", markdown)
    return markdown


def card_page(text: str, name: str) -> str:
    """A card with its facts as a block that can be read, and its Croissant to take along."""
    _, front, body = text.split("---\n", 2)
    title, _, rest = body.lstrip().partition("\n")
    programs = f"For programs: [Croissant 1.1]({name}.json), and the facts at the end of this page."
    return f"{title}\n\n{programs}\n{rest}\n## Facts\n\n```yaml\n{front}```\n"


def cli_page() -> str:
    """Every verb: what it does, its options, an example."""
    os.environ["COLUMNS"] = "100"
    from organoseg.cli.examples import EXAMPLES, walk
    from organoseg.cli.main import build_parser

    parts = [
        "# Command line",
        "Made from the program itself. `organoseg VERB --help` says the same. `-v` says more, `-q` less, before or "
        "after the verb. Exit codes: 0 done, 1 the run or a file failed, 2 wrong use, 3 bad data, 130 interrupted.",
    ]
    for name, parser in walk(build_parser()):
        parts.append(f"## organoseg {name}\n\n{_said(parser.description or '')}")
        if name in EXAMPLES:
            parts.append(f"```bash\n{EXAMPLES[name]}\n```")
        rows = [row for group in parser._action_groups for row in _rows(group)]
        parts.append("\n".join(["| option | what |", "| --- | --- |", *rows]))
    return "\n\n".join(parts) + "\n"


def _rows(group: Any) -> list[str]:
    rows = []
    for action in group._group_actions:
        if isinstance(action, argparse._HelpAction) or action.dest in ("verbose", "quiet"):
            continue
        if action.help == argparse.SUPPRESS:
            continue
        name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = action.metavar if action.option_strings and action.nargs != 0 else None
        if isinstance(value, tuple):
            value = " ".join(value)
        if action.choices:
            value = " \\| ".join(map(str, action.choices)) if action.option_strings else None
        shown = f"`{name}`" + (f" {value}" if value else "")
        needed = " **(needed)**" if action.required and action.option_strings else ""
        rows.append(f"| {shown}{needed} | {_said(action.help or '')} |")
    return rows


def _said(text: str) -> str:
    """Text of the program as Markdown: nothing of it is a mark."""
    return re.sub(r"([<>|*_\[\]])", r"\\\1", text.replace("%%", "%"))


def recipe_page() -> str:
    """Every key of a recipe, from the models that check it."""
    from organoseg.training.recipe import Recipe

    schema = Recipe.model_json_schema()
    parts = [
        "# Recipes",
        "A recipe is a YAML file; [configs/guided.yaml](../configs/guided.yaml) is one to copy. This page is made from "
        "the code that checks them: a key that is not here is refused. `--set training.steps=800` changes one value.",
        _section("The recipe", schema),
    ]
    parts += [
        _section(name, part)
        for name, part in schema.get("$defs", {}).items()
        if "properties" in part
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, schema: dict[str, Any]) -> str:
    said = (schema.get("description") or "").partition("\n\n")[0].replace("\n", " ")
    rows = ["| key | value | usual | what |", "| --- | --- | --- | --- |"]
    needed = schema.get("required", [])
    for name, field in schema["properties"].items():
        usual = (
            "**needed**"
            if name in needed
            else f"`{json.dumps(field.get('default'), ensure_ascii=False)}`".replace("|", "\\|")
        )
        usual = "see there" if len(usual) > 60 else usual.replace("\n", "")
        what = _said(field.get("description", "")).replace("\n", " ")
        rows.append(f"| `{name}` | {_kind(field)} | {usual} | {what} |")
    return f"## {title}\n\n{_said(said)}\n\n" + "\n".join(rows)


def _kind(field: dict[str, Any]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf", "allOf"):
        if several in field:
            return " or ".join(dict.fromkeys(_kind(part) for part in field[several]))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        inner = field.get("items") or field.get("prefixItems", [{}])[0]
        return f"list of {_kind(inner)}" if isinstance(inner, dict) else "list"
    return {"null": "null", "object": "map"}.get(field.get("type", ""), field.get("type", "any"))
