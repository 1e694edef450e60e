"""`organoseg predict`: segment images, folders and plates with a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from organoseg.cli.crew import add_crew_options, crew_of
from organoseg.cli.options import positive, score, verbosity_options


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Declare the verb and its options."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "predict",
        help="segment images with a trained model, or with the starter model",
        description="Segment images of any size, stacks, time-lapses and plates. DIR gets report.html, instances.json "
        "(all masks, overlaps kept), measurements.csv, a label TIFF and an overlay of each image (see --write); what "
        "fails is named in errors.csv. Run it again, and it does only what is missing or failed.",
        parents=[verbosity_options()],
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="images, folders of images, zarr images and plates (also behind a URL), patterns such as 'A*/*.tif'",
    )
    parser.add_argument(
        "--model",
        type=Path,
        help="the model's folder (default: the starter model that comes with organoseg, which learned from synthetic "
        "pictures alone)",
    )
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
        "--raw-masks",
        action="store_true",
        help="leave masks as the network draws them (default: stray pieces below a tenth of an organoid's largest go, "
        "and holes are filled)",
    )
    _add_reading(parser)
    parser.add_argument(
        "--write",
        type=lambda text: text.split(","),
        metavar="KINDS",
        help="what is written, with commas between: json, csv, report; for each image: labels (TIFF), overlay (PNG), "
        "rois (ImageJ), geojson (QuPath), ome-zarr; or all (default: json,csv,labels,overlay,report)",
    )
    parser.add_argument("--device", help="auto, cpu, cuda, mps (default: auto)")
    parser.add_argument(
        "--precision",
        choices=("auto", "fp32", "bf16"),
        default="auto",
        help="auto: bf16 where the device computes in it, about twice as fast",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="threads of the network in each process (default: the cores, shared by the processes). With the same "
        "number results have the same bits, whatever the number of processes",
    )
    parser.add_argument(
        "--progress",
        choices=("auto", "json", "none"),
        default="auto",
        help="a bar or plain lines, a JSON document a line on stderr, or nothing",
    )
    add_crew_options(parser)
    return parser


def _add_reading(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how images are read")
    group.add_argument(
        "--channel",
        metavar="C",
        help="the channel to segment: its number from 0, or as file names have it",
    )
    group.add_argument(
        "--z",
        choices=("focus", "max", "min", "each"),
        default="focus",
        help="what is seen of a z-stack: its sharpest plane (default), a projection, or each plane by itself",
    )
    group.add_argument(
        "--pixel-size",
        type=float,
        metavar="UM",
        help="µm per px of all images (default: what their files say); images are brought to the scale that the "
        "model was trained at, where it knows it",
    )
    group.add_argument(
        "--grammar",
        default="auto",
        metavar="G",
        help="how file names tell plate, well, site, time, channel and z, as in organoseg archive create",
    )
    group.add_argument(
        "--absent",
        choices=("refuse", "fill"),
        default="refuse",
        help="what a chunk that a zarr store lacks means: a loss (default), or pixels of the fill value",
    )
    group.add_argument(
        "--tile",
        type=int,
        default=0,
        metavar="PX",
        help="look at larger images in windows of this side (default: 1536); memory follows it",
    )
    group.add_argument(
        "--batch",
        type=int,
        default=1,
        metavar="N",
        help="images (or windows) of one size at once; worth it on a GPU, where the last digits of scores may then "
        "differ from run to run (default: 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Predict; 1 when a file failed."""
    from organoseg.inference import progress
    from organoseg.inference.folder import predict_folder
    from organoseg.inference.settings import PredictSettings
    from organoseg.inference.writers import USUAL
    from organoseg.models.shelf import find_model

    tells = {"json": progress.json_lines, "none": progress.silent}
    quiet = args.quiet > args.verbose and args.progress == "auto"
    outcome = predict_folder(
        args.paths,
        model=find_model(args.model) if args.model is not None else None,
        out=args.out,
        settings=PredictSettings(
            score_threshold=args.score_threshold,
            thorough=args.thorough,
            raw_masks=args.raw_masks,
            channel=args.channel,
            z=args.z,
            pixel_size=args.pixel_size,
            grammar=args.grammar,
            absent=args.absent,
            tile=args.tile,
            batch=args.batch,
        ),
        write=args.write or USUAL,
        device=args.device,
        precision=args.precision,
        threads=args.threads,
        crew=crew_of(args),
        tell=progress.silent if quiet else tells.get(args.progress),
    )
    if args.progress == "auto" and not quiet:
        print(outcome.sentence())
    return 1 if outcome.failures else 0
