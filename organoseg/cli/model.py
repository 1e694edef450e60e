"""`organoseg model`: which models are at hand, what they are, and folders made of what other programs trained."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from organoseg.cli import model_info
from organoseg.cli.options import score, verbosity_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb, its action and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "model",
        help="list models, show what one is, take in those of other programs",
        description="Models are folders: weights, what they are, and a card.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    model_info.add_verbs(actions)
    made = actions.add_parser(
        "import",
        help="take in a detectron2 checkpoint with its configuration",
        description="Make an organoseg model folder of a detectron2 checkpoint (Mask R-CNN, cascade or "
        "PointRend) and the YAML configuration that it was trained with. Nothing in the files is executed.",
        parents=[verbosity_options()],
    )
    made.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help=".pth, .pkl, .safetensors"
    )
    made.add_argument(
        "--config", type=Path, required=True, metavar="FILE.yaml",
        help="its configuration, such as the config.yaml in detectron2's output folder",
    )  # fmt: skip
    made.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    made.add_argument(
        "--classes",
        default="",
        metavar="A,B",
        help="names of its classes, in the order of their ids",
    )
    made.add_argument(
        "--config-root", type=Path, metavar="DIR",
        help="the folder that a _BASE_ of the configuration may lie in (default: that of FILE.yaml)",
    )  # fmt: skip
    made.add_argument(
        "--score", type=score, default=0.5, metavar="S",
        help="organoids are reported from this score on (default 0.5)",
    )  # fmt: skip
    made.add_argument(
        "--pixel-size", type=float, metavar="UM", help="µm per px of the images it was trained on"
    )
    made.add_argument(
        "--trust-pickle", action="store_true",
        help="read a checkpoint that only Python's pickle can read; it may run any code",
    )  # fmt: skip
    made.set_defaults(run_action=run_import)
    return parser


def run(args: argparse.Namespace) -> int:
    """Do the action."""
    return int(args.run_action(args))


def run_import(args: argparse.Namespace) -> int:
    """Write the model folder and say how it is used."""
    from organoseg.models.detectron2.importing import import_model

    names = [name.strip() for name in args.classes.split(",") if name.strip()]
    description = import_model(
        args.checkpoint, args.config, args.out, names, args.config_root, args.trust_pickle,
        args.score, args.pixel_size,
    )  # fmt: skip
    print(f"{args.out}: {description.identity}, classes {', '.join(description.classes.values())}")
    print(f"Use: organoseg predict IMAGES --model {args.out} --out RESULTS")
    return 0
