"""detectron2's published weights by its own names: downloaded once, checked, kept as safetensors.

The weights are published under CC BY-SA 3.0 (detectron2's MODEL_ZOO.md). A model's file name carries the first six
digits of its MD5, which is what its publisher states. Of the ImageNet backbones nothing is stated, so they are not
downloaded without being asked for: a file that a person has put into the cache is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from organoseg.core import UsageError
from organoseg.io.checksum import verify
from organoseg.io.download import Words, fetch, only_one
from organoseg.models.published.store import local_folder, weights_cache

SERVER = "https://dl.fbaipublicfiles.com/detectron2/"


@dataclass(frozen=True)
class Entry:
    """A published file: its place on the server, and the architecture it is for."""

    place: str
    architecture: str

    @property
    def checksum(self) -> str | None:
        """What the publisher states, as :func:`organoseg.io.download.fetch` takes it; None: nothing."""
        head, found, digits = Path(self.place).stem.partition("model_final_")
        return f"md5:{digits}" if found and not head else None


_COCO = "COCO-InstanceSegmentation/mask_rcnn_"
#: Whole models trained on COCO, by the names of detectron2's configurations.
MODELS: dict[str, Entry] = {
    f"{base}{name}": Entry(f"{base}{name}/{suffix}.pkl", architecture)
    for base, name, suffix, architecture in (
        (_COCO, "R_50_FPN_1x", "137260431/model_final_a54504", "mask_rcnn_R_50_FPN"),
        (_COCO, "R_50_FPN_3x", "137849600/model_final_f10217", "mask_rcnn_R_50_FPN"),
        (_COCO, "R_101_FPN_3x", "138205316/model_final_a3ec72", "mask_rcnn_R_101_FPN"),
        (_COCO, "X_101_32x8d_FPN_3x", "139653917/model_final_2d9806", "mask_rcnn_X_101_FPN"),
        (_COCO, "R_50_C4_3x", "137849525/model_final_4ce675", "mask_rcnn_R_50_C4"),
        (_COCO, "R_101_C4_3x", "138363239/model_final_a2914c", "mask_rcnn_R_101_C4"),
        (_COCO, "R_50_DC5_3x", "137849551/model_final_84107b", "mask_rcnn_R_50_DC5"),
        (_COCO, "R_101_DC5_3x", "138363294/model_final_0464b7", "mask_rcnn_R_101_DC5"),
        (
            "Misc/", "cascade_mask_rcnn_R_50_FPN_3x", "144998488/model_final_480dd8",
            "cascade_mask_rcnn_R_50_FPN",
        ),
        (
            "PointRend/InstanceSegmentation/", "pointrend_rcnn_R_50_FPN_3x_coco",
            "164955410/model_final_edd263", "pointrend_R_50_FPN",
        ),
        (
            "PointRend/InstanceSegmentation/", "pointrend_rcnn_R_101_FPN_3x_coco",
            "28119983/model_final_3f4d2a", "pointrend_R_101_FPN",
        ),
        ("ViTDet/COCO/", "mask_rcnn_vitdet_b", "f325346929/model_final_61ccd1", "mask_rcnn_vitdet_b"),
        ("ViTDet/COCO/", "mask_rcnn_vitdet_l", "f325599698/model_final_6146ed", "mask_rcnn_vitdet_l"),
    )
}  # fmt: skip
#: Backbones trained on ImageNet, and the part of an architecture's name that they are for.
BACKBONES: dict[str, Entry] = {
    "ImageNetPretrained/MSRA/R-50": Entry("ImageNetPretrained/MSRA/R-50.pkl", "_R_50_"),
    "ImageNetPretrained/MSRA/R-101": Entry("ImageNetPretrained/MSRA/R-101.pkl", "_R_101_"),
    "ImageNetPretrained/FAIR/X-101-32x8d": Entry(
        "ImageNetPretrained/FAIR/X-101-32x8d.pkl", "_X_101_"
    ),
}


def entry_of(name: str) -> Entry | None:
    """The published file of a name; ``detectron2://`` and the ending may be written or not."""
    plain = name.removeprefix("detectron2://").removesuffix(".pkl").removesuffix(".yaml")
    return MODELS.get(plain) or BACKBONES.get(plain)


def resolve(name: str, architecture: str, where: str) -> Path:
    """A file as it is, a published name downloaded once and converted to safetensors.

    Raises
    ------
    UsageError
        Neither a file nor a published name, or weights for another architecture.
    DataError
        The download failed, or it is not what was published.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        path = path / "weights.safetensors"
    if path.is_file():
        return path
    entry = entry_of(name)
    if entry is None:
        known = MODELS if where.endswith("start") else BACKBONES
        raise UsageError(
            f"no detectron2 weights named {name!r}",
            where=where,
            remedy=f"Give a file, or one of: {', '.join(known)}.",
        )
    if entry.architecture not in architecture:
        raise UsageError(
            f"{name} is for {entry.architecture.strip('_')}, not for {architecture}",
            where=where,
            remedy="Choose weights of this architecture, or change model.options.architecture.",
        )
    return _converted(entry)


def _converted(entry: Entry) -> Path:
    target = weights_cache() / "detectron2" / entry.place
    ready = target.with_suffix(".safetensors")
    if ready.is_file():
        return ready
    with only_one(ready):  # the processes of one run ask at once: one of them converts
        return ready if ready.is_file() else _convert(entry, target, ready)


def _convert(entry: Entry, target: Path, ready: Path) -> Path:
    from organoseg.models.detectron2.reading import read_weights, write_safetensors

    own = local_folder()
    mine = own / target.name if own is not None else None
    if mine is not None and mine.is_file():
        verify(mine, entry.checksum)
        write_safetensors(ready, read_weights(mine))
        return ready
    words = Words(
        f"{entry.place} is not on this computer",
        f"Download {SERVER}{entry.place} by hand to {target}.",
    )
    fetch(SERVER + entry.place, target, entry.checksum, words=words)
    write_safetensors(ready, read_weights(target))
    target.unlink()
    return ready
