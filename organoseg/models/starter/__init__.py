"""The starter model, which comes with the package: for the first masks, before there is a label.

It learned from synthetic pictures alone (`organoseg.dataset.world`). Its card lies beside it, in `README.md`. No torch
is loaded here, so that lists of models and `organoseg doctor` may ask for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from organoseg.core import DataError, file_hash

#: What lists show it as.
TITLE = "starter"
#: What everyone is told who gets masks of it without having asked for it.
NOTE = (
    "no model was given: the starter model {identity} is used. It learned from synthetic pictures alone and has never "
    "seen a real organoid: look at its masks before you count with them, and train a model of your own images."
)
_FOLDER = Path(__file__).parent
_DESCRIPTION, _WEIGHTS = "model.yaml", "weights.safetensors"


@dataclass(frozen=True)
class StarterFacts:
    """Its short name, the size of its weights in bytes, and whether they are as its description says."""

    identity: str
    size: int
    intact: bool


def starter(folder: Path = _FOLDER) -> Path:
    """The folder of the starter model.

    DataError where this installation lacks it.
    """
    missing = [name for name in (_DESCRIPTION, _WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"the starter model is not in this installation ({', '.join(missing)} is missing)",
            where=folder,
            remedy="Install organoseg again, or give a model of your own (--model).",
        )
    return folder


def starter_facts(folder: Path = _FOLDER) -> StarterFacts:
    """What it is, and whether it is whole. DataError where it is missing or its description is damaged."""
    import yaml

    home = starter(folder)
    try:
        said = yaml.safe_load((home / _DESCRIPTION).read_text(encoding="utf-8"))
        engine, stated = str(said["engine"]), str(said["weights_sha256"])
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(
            "the starter model's description cannot be read",
            where=home / _DESCRIPTION,
            remedy="Install organoseg again.",
        ) from error
    weights = home / _WEIGHTS
    intact = file_hash(weights) == stated
    return StarterFacts(f"{engine}-{stated[:12]}", weights.stat().st_size, intact)
