"""A lab's own detectron2 model becomes an organoseg model folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from organoseg.core import UsageError, file_hash
from organoseg.models.detectron2.presence import require
from organoseg.models.folder import ModelDescription, save_model


def class_names(count: int, names: Sequence[str]) -> dict[int, str]:
    """Category ids from 1 and their names, in the order of the network's channels.

    Raises
    ------
    UsageError
        Not as many names as the network has classes.
    """
    if not names and count == 1:
        return {1: "organoid"}
    if len(names) != count:
        raise UsageError(
            f"the configuration has {count} classes, and {len(names)} were named",
            where="--classes",
            remedy="Name all of them in the order of their ids: --classes organoid,spheroid,debris",
        )
    if len(set(names)) != count:
        raise UsageError("two classes have one name", where="--classes")
    return dict(enumerate(names, start=1))


def import_model(
    checkpoint: Path,
    config: Path,
    out: Path,
    names: Sequence[str] = (),
    root: Path | None = None,
    trust_pickle: bool = False,
    score_threshold: float = 0.5,
    pixel_size: float | None = None,
) -> ModelDescription:
    """Read checkpoint and configuration, check that they are of one network, and write the folder ``out``.

    Raises
    ------
    UsageError
        detectron2 is absent, ``out`` is taken, or the configuration is of another kind of network.
    DataError
        The checkpoint is damaged, would have to run code, or does not fit the configuration to the last tensor.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("this place is taken", where=out, remedy="Give another --out.")
    require()
    from organoseg.models.detectron2.engine import Detectron2Segmenter
    from organoseg.models.detectron2.lab_config import classes_in, options_of, read_config
    from organoseg.models.detectron2.options import resolved
    from organoseg.models.detectron2.reading import read_weights
    from organoseg.models.detectron2.weights import put

    tree = read_config(config, root)
    classes = class_names(classes_in(tree), names)
    engine = Detectron2Segmenter(tuple(classes), resolved(options_of(tree, config), True))
    put(engine.network, read_weights(checkpoint, trust_pickle), checkpoint, replace=False)
    return save_model(
        out, engine, "detectron2", engine.options, classes, score_threshold,
        _origin(checkpoint, config), pixel_size=pixel_size,
    )  # fmt: skip


def _origin(checkpoint: Path, config: Path) -> Mapping[str, str]:
    return {
        "imported_from": checkpoint.name,
        "sha256": file_hash(checkpoint),
        "configuration": config.name,
    }
