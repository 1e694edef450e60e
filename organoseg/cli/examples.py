"""An example for the help of every verb and action, in one table: what people copy must run.

A test parses each line with the real parser, so an option that is renamed cannot live on here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

EXAMPLES: dict[str, str] = {
    "demo": "organoseg demo --out demo",
    "doctor": "organoseg doctor",
    "train": """\
organoseg train configs/guided.yaml --out runs/first --set training.steps=800
organoseg train configs/guided.yaml --out runs/first --set training.steps=800 --resume""",
    "predict": """\
organoseg predict plates/ --model runs/first/model --out results
organoseg predict 'plate1/A*.tif' --model runs/first/model --out results --write all --thorough""",
    "track": "organoseg track results --interval 2h",
    "evaluate": "organoseg evaluate --predictions results/instances.json --ground-truth test.json",
    "archive create": "organoseg archive create plates/ more/ --out archive.zarr",
    "archive index": "organoseg archive index lab/plate1.zarr s3://lab/plate2.zarr --out lab.sqlite",
    "archive check": "organoseg archive check archive.zarr --quarantine",
    "archive info": "organoseg archive info archive.zarr --sheets sheets/",
    "review open": """\
organoseg review open review1 --images plates/ --predictions results
organoseg review open mine --bundle for_anna.zip""",
    "review status": "organoseg review status review1",
    "review export": "organoseg review export review1 --to dataset",
    "review pack": "organoseg review pack review1 --out for_anna.zip",
    "review merge": "organoseg review merge review1 back.zip",
    "review find": "organoseg review find review1 /new/place/of/the/images",
    "model list": "organoseg model list runs/",
    "model info": "organoseg model info runs/first/model",
    "model import": "organoseg model import model_final.pth --config config.yaml --out imported --classes organoid",
    "model export": "organoseg model export runs/first/model --onnx organoids.onnx",
    "data list": "organoseg data list",
    "data fetch": "organoseg data fetch orgasegment",
    "data import": """\
organoseg data import exported.zip --out data/mine
organoseg data import orgasegment --out data/orgasegment
organoseg data import plate7 --image-pattern 'raw/*.tif' --label-pattern 'masks/*.png' --out data/plate7""",
    "data example": "organoseg data example --out example",
    "data card": """\
organoseg data card labels.json --images images/ --out CARD.md --group-pattern '(plate\\d+_[A-H]\\d+)'
organoseg data card CARD.md --croissant croissant.json""",
    "completion": """\
organoseg completion bash > ~/.local/share/bash-completion/completions/organoseg
organoseg completion zsh > ~/.zfunc/_organoseg
organoseg completion fish > ~/.config/fish/completions/organoseg.fish""",
}  # fmt: skip


#: Of verbs that only hold actions: where most people begin.
GROUPS: dict[str, str] = {
    "archive": "create",
    "review": "open",
    "data": "import",
    "model": "info",
}


class HelpFormatter(argparse.HelpFormatter):
    """Wraps descriptions as argparse does, and leaves examples as they are written."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n  organoseg " in text:
            return text
        return super()._fill_text(text, width, indent)


def add_examples(parser: argparse.ArgumentParser) -> None:
    """Give every verb and action below `parser` its example, and verbs that hold actions a hint."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name in action.choices.keys() & GROUPS.keys():
                begin = f"{name} {GROUPS[name]}"
                group: argparse.ArgumentParser = action.choices[name]
                example = EXAMPLES[begin].splitlines()[0]
                hint = f"`organoseg {begin} --help` explains an action, with all its options."
                group.epilog = f"example:\n  {example}\n\n{hint}"
                group.formatter_class = HelpFormatter
    for name, verb in walk(parser):
        if name in EXAMPLES:
            lines = EXAMPLES[name].splitlines()
            title = "examples:" if len(lines) > 1 else "example:"
            verb.epilog = "\n".join([title, *(f"  {line}" for line in lines)])
            verb.formatter_class = HelpFormatter


def walk(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb without actions and every action below `parser`, with its words: ``archive create``."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                inner = [(f"{name} {deeper}", found) for deeper, found in walk(below)]
                yield from inner or [(name, below)]
