"""`organoseg model`: which models are at hand, those of other programs, and exports."""

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
        help="list models, show what one is, take in those of other programs, export to ONNX",
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
    _add_export(actions)
    return parser


def _add_export(actions: Any) -> None:
    made = actions.add_parser(
        "export",
        help="write a compact model as one ONNX file",
        description="Write a model of the engine compact as one ONNX file. `organoseg predict --model OUT.onnx` runs "
        "it with onnxruntime on the processor, without torch, to the same organoids.",
        epilog="example: organoseg model export runs/first/model --onnx organoids.onnx",
        parents=[verbosity_options()],
    )
    made.add_argument("model", type=Path, metavar="MODEL", help="a model folder")
    made.add_argument("--onnx", type=Path, required=True, metavar="OUT.onnx")
    made.add_argument(
        "--int8", action="store_true",
        help="8-bit weights and activations: a third of the size, and faster on most processors, at a small loss "
        "that is measured on the images of --calibrate",
    )  # fmt: skip
    made.add_argument(
        "--calibrate", type=Path, nargs="+", metavar="IMAGES",
        help="for --int8: images, or folders of images, like those to be segmented; 30 are plenty",
    )  # fmt: skip
    made.set_defaults(run_action=run_export)


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


def run_export(args: argparse.Namespace) -> int:
    """Write the file and say how it is used."""
    from organoseg.core import UsageError

    if args.onnx.suffix.lower() != ".onnx":
        raise UsageError(
            "an exported model is known by its ending", where=args.onnx, remedy="End it in .onnx."
        )
    if args.int8 != bool(args.calibrate):
        raise UsageError(
            "--int8 and --calibrate belong together: the ranges of 8-bit numbers are taken from images",
            remedy="Give both, or neither.",
        )
    from organoseg.models.shelf import find_model

    model = find_model(args.model)
    if args.int8:
        from organoseg.inference.int8 import export_int8

        description, agreement = export_int8(model, args.onnx, args.calibrate)
        print(agreement)
    else:
        from organoseg.models.export.onnx_write import write_onnx

        description = write_onnx(model, args.onnx)
    size = args.onnx.stat().st_size / 1e6
    print(f"{args.onnx}: {description.identity}, {size:.1f} MB")
    print(f"Use: organoseg predict IMAGES --model {args.onnx} --out RESULTS")
    return 0
