"""A COCO file and its folder of images as a labelled set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from organoseg.core import DataError, Image, Instances
from organoseg.dataset.labelled import LabelledDataset, LabelledImage
from organoseg.io.coco_json import parse_coco_instances
from organoseg.io.formats import read_image

_SHOWN = 5


def load_coco(
    annotations: Path,
    images: Path,
    names: Sequence[str] | None = None,
    strict: bool = True,
    group: Callable[[str], str] | None = None,
) -> LabelledDataset:
    """The images of a COCO instances file with their organoids; ``names`` picks some, in order.

    ``images`` is the folder that the file names start from. ``group`` gives an image's group from
    its file name (see `organoseg.dataset.groups`); without it the reader's own group stands.
    Raises DataError for every fault that `organoseg.io.coco_json.parse_coco_instances` names, for
    images that are missing or unreadable, outside the folder, or of another size than the file
    says, and for an empty set. ``strict=False`` repairs what can be repaired, with a warning.

    An annotation with ``"iscrowd": 1, "ignore": 1`` is a region where nobody looked: see `LabelledImage.ignored`.
    """
    annotations, images = Path(annotations), Path(images)
    coco = parse_coco_instances(annotations, strict=strict, names=names, ignore_regions=True)
    paths = _image_paths(images, list(coco.instances), annotations)
    read = {name: _read(path, name, group) for name, path in paths.items()}
    _check_sizes(read, coco.instances, annotations)
    items = tuple(
        LabelledImage(read[name], coco.instances[name], coco.ignored.get(name)) for name in paths
    )
    if not items:
        raise DataError(
            "The labelled set is empty: no images are listed",
            where=annotations,
            remedy="Export the labels together with their images.",
        )
    return LabelledDataset(items, coco.categories)


def _read(path: Path, name: str, group: Callable[[str], str] | None) -> Image:
    image = read_image(path)
    # The file's own spelling is the key by which predictions are matched later.
    return replace(image, name=name, group=group(name) if group else image.group)


def _image_paths(folder: Path, names: list[str], annotations: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(
            "The folder of images does not exist",
            where=folder,
            remedy=f"Give the folder that holds the images of {annotations.name}.",
        )
    root = folder.resolve()
    paths = {name: folder / name for name in names}
    astray = [n for n, path in paths.items() if not path.resolve().is_relative_to(root)]
    if astray:
        raise DataError(
            f"{len(astray)} file names lead out of the folder of images: {_some(astray)}",
            where=annotations,
            remedy="Write file names relative to the folder of images.",
        )
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(names)} images are missing in {folder}: {_some(missing)}",
            where=annotations,
            remedy="Put them there, give their folder, or name the images to use.",
        )
    return paths


def _check_sizes(
    read: dict[str, Image], instances: dict[str, Instances], annotations: Path
) -> None:
    wrong = [
        f"{name} (the file is {_size(image.shape)}, its labels say {_size(instances[name].shape)})"
        for name, image in read.items()
        if image.shape != instances[name].shape
    ]
    if wrong:
        raise DataError(
            f"{len(wrong)} images are not of the size (height x width) that their labels give: "
            f"{_some(wrong)}",
            where=annotations,
            remedy="Give the images that were outlined, not scaled or cropped copies.",
        )


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest
