"""The napari manifest is valid and promises nothing that is not there."""

import importlib
import subprocess
import sys
from pathlib import Path

import yaml
from npe2 import PluginManifest


def test_commands_of_the_manifest_exist(repository: Path) -> None:
    manifest = yaml.safe_load((repository / "napari_plugin" / "napari.yaml").read_text())
    assert manifest["name"] == "organoseg"
    for command in manifest["contributions"].get("commands", []):
        module, _, name = command["python_name"].partition(":")
        assert callable(getattr(importlib.import_module(module), name))


def test_npe2_takes_the_manifest(repository: Path) -> None:
    manifest = PluginManifest.from_file(repository / "napari_plugin" / "napari.yaml")
    manifest.validate_imports()


def test_the_plugin_package_loads_neither_napari_nor_torch() -> None:
    program = (
        "import sys, organoseg_napari\n"
        "print('loaded:', *{'napari', 'qtpy', 'torch'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "loaded:"
