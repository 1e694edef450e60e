"""`organoseg predict`: segment images and folders with a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from organoseg.cli.options import score, verbosity_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "predict",
        help="segment images with a trained model",
        description="Segment images. DIR gets instances.json (all masks, overlaps kept), labels/ "
        "(a label TIFF per image; see --write) and measurements.csv; images that fail are named in errors.csv. "
        "Run it again, and it does only what is missing.",
        parents=[verbosity_options()],
    )
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="images, or folders of images"
    )
    parser.add_argument("--model", type=Path, required=True, help="the model's folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of results")
    parser.add_argument(
        "--score-threshold",
        type=score,
        metavar="S",
        help="leave out organoids with a lower score, 0 to 1 (default: what the model says)",
    )
    parser.add_argument(
        "--thorough",
        action="store_true",
        help="look at each image four times, turned and enlarged: finds and draws better, "
        "at about seven times the time",
    )
    parser.add_argument(
        "--write",
        type=lambda text: text.split(","),
        default=["labels"],
        metavar="KINDS",
        help="files an image gets, with commas between: labels (TIFF), rois (ImageJ), geojson (QuPath); "
        "default: labels",
    )
    parser.add_argument("--device", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 where the device computes in it, about twice as fast",
    )
    return parser


def run(args: argparse.Namespace) -> int:
    """Predict; the exit code is the folder run's, so a file that failed shows in it."""
    from organoseg.inference.folder import predict_folder

    return predict_folder(
        args.paths,
        model=args.model,
        out=args.out,
        score_threshold=args.score_threshold,
        device=args.device,
        precision=args.precision,
        write=args.write,
        thorough=args.thorough,
    )
