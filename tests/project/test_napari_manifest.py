"""The napari manifest is valid and promises nothing that is not there."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from npe2 import PluginManifest


def test_commands_of_the_manifest_exist(repository: Path) -> None:
    folder = repository / "napari_plugin"
    manifest = yaml.safe_load((folder / "napari.yaml").read_text())
    assert manifest["name"] == "organoseg"
    for command in manifest["contributions"]["commands"]:
        module, _, name = command["python_name"].partition(":")
        tree = ast.parse((folder / f"{module.partition('.')[2]}.py").read_text())
        assert name in {n.name for n in tree.body if isinstance(n, ast.ClassDef | ast.FunctionDef)}


def test_npe2_takes_the_manifest_and_finds_what_it_names(repository: Path) -> None:
    manifest = PluginManifest.from_file(repository / "napari_plugin" / "napari.yaml")
    # Qt is there only where its binding and the system's libraries are.
    for module in ("qtpy.QtWidgets", "superqt", "napari"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            pytest.skip(f"widgets cannot be imported here: {error}")
    manifest.validate_imports()


def test_every_command_is_a_verb_in_the_palette_and_keys_are_not_promised(repository: Path) -> None:
    manifest = PluginManifest.from_file(repository / "napari_plugin" / "napari.yaml")
    titles = [command.title for command in manifest.contributions.commands or ()]
    verbs = ("Open ", "Save ", "Segment ", "Review ", "Train ", "Make ")
    assert [t for t in titles if not t.startswith(verbs)] == []
    # napari takes no notice of a plugin's key bindings; ours are bound on the layers.
    assert not manifest.contributions.keybindings
    menus = manifest.contributions.menus or {}
    assert {"napari/layers/segment", "napari/layers/annotate"} <= set(menus)


def test_the_plugin_package_loads_neither_napari_nor_torch() -> None:
    program = (
        "import sys, organoseg_napari\n"
        "print('loaded:', *{'napari', 'qtpy', 'torch'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "loaded:"


def test_qt_comes_through_qtpy_alone(repository: Path) -> None:
    """Any binding will do, so none is named; and nothing private of napari's window is used."""
    for path in (repository / "napari_plugin").glob("*.py"):
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(n.startswith(("PyQt", "PySide")) for n in names), path.name
        assert "_qt_viewer" not in text, path.name
        assert "_qt_window" not in text, path.name


def test_no_module_loads_torch_or_napari_when_it_is_imported(repository: Path) -> None:
    for path in (repository / "napari_plugin").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            heavy = ("torch", "napari.", "organoseg.training", "organoseg.models")
            heavy += ("organoseg.inference", "organoseg.distill")
            assert not any(n == "napari" or n.startswith(heavy) for n in names), path.name
