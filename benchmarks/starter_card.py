"""The card of the starter model: what it is, what it learned from, how good it is where, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from organoseg.core import read_json
from organoseg.models.folder import ModelDescription

_SHOWN = {
    "AP": "AP",
    "AP50": "AP50",
    "AP75": "AP75",
    "F1": "F1",
    "recall_overlapping_at_threshold": "overlapping found",
    "recall_isolated_at_threshold": "isolated found",
}


def card(description: ModelDescription, size: int, results: Path | None) -> str:
    """Markdown with a front matter; figures from the files that `starter.py measure` left in ``results``."""
    facts = description.trained_with
    learnt = (
        f"{facts['labelled_images']} drawn pictures, {facts['steps']} steps, seed {facts['seed']}"
    )
    return f"""---
license: bsd-3-clause
base_model: MobileNetV2, ImageNet (Apache-2.0)
tags: [organoids, instance-segmentation, brightfield, synthetic]
---

# organoseg starter model {description.identity}

Outlines organoids in brightfield pictures before there is a label. It comes with organoseg and is taken where no model
is given; `organoseg predict`, `run.json`, the plugin and a Python warning say so.

- Engine `{description.engine}`, 2 million parameters, stored in half precision, {size / 1e6:.1f} MB
- `weights.safetensors`, sha256 `{description.weights_sha256}`; a changed file is refused
- Made {description.created[:10]}; organoids are reported from a score of {description.score_threshold:.2f} on
  (chosen on: {facts.get("score_threshold_from")})

## Data

{learnt}, of 256 x 256 px (`organoseg.dataset.world.World`, its default ranges; `docs/starter.md`).
**No real picture and no real label was trained on.** The ranges of the drawn world and the length of the training were
chosen with the labels of M-OrgaQuant's `val` images in sight. The encoder started from ImageNet weights (MobileNetV2,
Apache-2.0, `LICENSE.Apache-2.0.txt`).

## Figures

Zero shot on M-OrgaQuant (human intestinal organoids, brightfield; research use, not part of this package). F1 and
recall at the threshold at which F1 is best.

{_figures(results)}

## Limits

- A beginning, not a measurement: look at its masks before you count with them, and train a model of your own images.
- Brightfield alone. Organoids of about 10 to 200 px across; it does not know the size of your pixels.
- It leaves out what is far out of focus and what is cut by the border with less than half of it in the picture, and
  cannot tell small organoids from single cells and debris as your laboratory does.
- Its figures hold for the images named above and for no others.
"""


def _figures(results: Path | None) -> str:
    lines = ["| images | model | " + " | ".join(_SHOWN.values()) + " |"]
    lines.append("| " + " | ".join(["---"] * (len(_SHOWN) + 2)) + " |")
    for split in ("val", "test"):
        path = results / f"starter_{split}.json" if results is not None else None
        if path is None or not path.is_file():
            continue
        found: dict[str, Any] = read_json(path)
        for row in found["rows"]:
            cells = " | ".join(f"{row[key]:.3f}" for key in _SHOWN)
            lines.append(f"| {split} ({found['images']}) | {row['name']} | {cells} |")
    return "\n".join(lines) if len(lines) > 2 else "Not measured yet."
