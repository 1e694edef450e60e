"""A lab's own detectron2 configuration, read as data: YAML only, and only what describes the network.

detectron2 has a second kind of configuration, LazyConfig, which is Python. It is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from organoseg.core import DataError, UsageError
from organoseg.models.detectron2.config import apply_settings, new_config
from organoseg.models.detectron2.options import Detectron2Options, parse_options

BASE = "_BASE_"
DEEPEST = 8
#: What a network may be made of here; every other part would need losses and decoding of its own.
PARTS: dict[str, tuple[Any, ...]] = {
    "META_ARCHITECTURE": ("GeneralizedRCNN",),
    "PROPOSAL_GENERATOR.NAME": ("RPN",),
    "RPN.HEAD_NAME": ("StandardRPNHead",),
    "ANCHOR_GENERATOR.NAME": ("DefaultAnchorGenerator",),
    "ROI_HEADS.NAME": ("StandardROIHeads", "CascadeROIHeads", "Res5ROIHeads", "PointRendROIHeads"),
    "ROI_MASK_HEAD.NAME": ("MaskRCNNConvUpsampleHead", "PointRendMaskHead"),
    "MASK_ON": (True,),
    "KEYPOINT_ON": (False,),
    "LOAD_PROPOSALS": (False,),
    "ROI_BOX_HEAD.USE_FED_LOSS": (False,),
}
#: Of sections that otherwise describe training, data and output.
KEPT = {"INPUT": ("FORMAT", "MIN_SIZE_TEST", "MAX_SIZE_TEST"), "TEST": ("DETECTIONS_PER_IMAGE",)}
DROPPED = ("WEIGHTS", "DEVICE")


def read_config(path: Path, root: Path | None = None) -> dict[str, Any]:
    """A YAML configuration with what it is based on, as one tree.

    Parameters
    ----------
    root
        The folder that ``_BASE_`` may point into besides detectron2's own configurations; null: the file's folder.

    Raises
    ------
    UsageError
        A ``_BASE_`` outside both, a Python file, or a file that is not there.
    DataError
        A file that is not plain YAML.
    """
    folder = (root or path.parent).resolve()
    return _read(path.resolve(), folder, 0)


def _read(path: Path, root: Path, depth: int) -> dict[str, Any]:
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(
            f"a configuration of kind {path.suffix!r} is not read",
            where=path,
            remedy="Give the YAML file, such as the config.yaml in detectron2's output folder; "
            "LazyConfig files are programs, and are never run.",
        )
    if depth > DEEPEST:
        raise DataError(f"{BASE} goes round in circles", where=path, remedy="Mend the files.")
    tree = _load(path)
    bases = tree.pop(BASE, None) or []
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _over(merged, _read(_base(str(base), path, root), root, depth + 1))
    return _over(merged, tree)


def _load(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError("no such configuration", where=path, remedy="Check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DataError(
            f"the configuration is not plain YAML: {error}",
            where=path,
            remedy="Python objects in YAML are not read; save it with cfg.dump().",
        ) from error
    if not isinstance(tree, dict):
        raise DataError("the configuration is no mapping of sections", where=path)
    return tree


def _base(name: str, path: Path, root: Path) -> Path:
    near = (path.parent / name).resolve()
    allowed = [root, *_zoo()]
    if near.is_file() and any(near.is_relative_to(folder) for folder in allowed):
        return near
    # Labs copy a configuration out of the zoo, and with it a path that leads nowhere from there.
    tail = [p for p in Path(name).parts if p not in ("..", ".", "/", "configs")]
    for folder in _zoo():
        for start in range(len(tail)):
            known = folder.joinpath(*tail[start:])
            if known.is_file():
                return known.resolve()
    raise UsageError(
        f"{BASE}: {name} lies neither in {root} nor among detectron2's own configurations",
        where=path,
        remedy="Name the folder that all of them lie in with --config-root, "
        "or give the config.yaml that detectron2 wrote beside the checkpoint.",
    )


def _zoo() -> list[Path]:
    import detectron2

    package = Path(str(detectron2.__file__)).resolve().parent
    return [
        f.resolve()
        for f in (package / "model_zoo" / "configs", package.parent / "configs")
        if f.is_dir()
    ]


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            value = _over(old, value)
        merged[key] = value
    return merged


def options_of(tree: Mapping[str, Any], where: Path | str = "configuration") -> Detectron2Options:
    """Options of an engine that computes what this configuration describes.

    Raises
    ------
    UsageError
        An unknown setting, or a network that is not of this family.
    """
    if int(tree.get("VERSION", 2)) < 2:
        raise UsageError(
            "a configuration of version 1", where=where, remedy="Upgrade it with detectron2."
        )
    model = {k: v for k, v in dict(tree.get("MODEL") or {}).items() if k not in DROPPED}
    points = "POINT_HEAD" in model or _at(model, "ROI_HEADS.NAME") == "PointRendROIHeads"
    kept = {s: _only(tree.get(s), names) for s, names in KEPT.items()}
    plain, cfg = new_config(points), new_config(points)
    plain.MODEL.MASK_ON = cfg.MODEL.MASK_ON = False
    apply_settings(cfg, {"MODEL": model, **kept})
    _check(cfg.MODEL, where)
    shortest, longest = int(cfg.INPUT.MIN_SIZE_TEST), int(cfg.INPUT.MAX_SIZE_TEST)
    return parse_options(
        {
            "max_instances": max(int(cfg.TEST.DETECTIONS_PER_IMAGE), 100),
            "proposals": int(cfg.MODEL.RPN.POST_NMS_TOPK_TEST),
            "anchors_sampled": int(cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE),
            "regions_sampled": int(cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE),
            "nms": float(cfg.MODEL.ROI_HEADS.NMS_THRESH_TEST),
            "mask_nms": None,
            "mask_score": False,
            "short_side": shortest or None,
            "long_side": max(longest, shortest, 32),
            "encoder_rate": 0.3,
            "config": {"MODEL": _differences(plain.MODEL, cfg.MODEL)},
        }
    )


def classes_in(tree: Mapping[str, Any]) -> int:
    """How many classes a configuration's network tells apart."""
    found = _at(tree.get("MODEL") or {}, "ROI_HEADS.NUM_CLASSES")
    return int(found) if found is not None else 80


def _only(section: Any, names: tuple[str, ...]) -> dict[str, Any]:
    return {k: v for k, v in section.items() if k in names} if isinstance(section, Mapping) else {}


def _at(tree: Any, place: str) -> Any:
    for part in place.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _check(model: Any, where: Path | str) -> None:
    for place, allowed in PARTS.items():
        found = _at(model, place)
        if found not in allowed:
            raise UsageError(
                f"MODEL.{place} is {found!r}, which organoseg cannot train or decode",
                where=where,
                remedy=f"It knows: {', '.join(map(str, allowed))}.",
            )


def _differences(plain: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What ``given`` says otherwise than ``plain``, as JSON can hold it."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        old = plain.get(key)
        if isinstance(value, Mapping):
            inner = _differences(old if isinstance(old, Mapping) else {}, value)
            if inner:
                found[key] = inner
        elif value != old:
            found[key] = _listed(value)
    return found


def _listed(value: Any) -> Any:
    return [_listed(v) for v in value] if isinstance(value, (list, tuple)) else value
