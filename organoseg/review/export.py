"""What was reviewed, back into a data set that training reads.

DATASET/labels.json        COCO, overlaps kept; what was not reviewed is an ignore region (iscrowd 1)
DATASET/images/            copies of the images
DATASET/split.json         the side of every group, decided once
DATASET/subsets.json       names by side, for recipes: subsets.json#train
DATASET/provenance.jsonl   one line an organoid: who, when, which model, what changed
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ExportReport:
    """Names of images by what became of them; ``refused`` with the reason."""

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()


def export_project(
    project: Path | str,
    dataset: Path | str,
    *,
    validation: float = 0.2,
    held_out: tuple[Path, Path] | None = None,
) -> ExportReport:
    """Write everything reviewed in a project into the data set in folder ``dataset`` (made when absent).

    validation: share of *new* groups that is dealt to validation; groups that are known keep their side. held_out:
    (annotations, folder of images) of a test set whose pictures and groups are refused.
    """
    raise NotImplementedError
