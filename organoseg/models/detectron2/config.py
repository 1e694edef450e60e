"""detectron2's configuration, built from our options; no file of its own is read, so none is executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from organoseg.core import UsageError
from organoseg.models.detectron2.options import Detectron2Options

#: Parts of detectron2's configuration that decide what a network computes. Everything else is training, data or
#: output, and that is organoseg's.
SECTIONS = ("MODEL", "TEST", "INPUT")
BACKBONE_NODE = "ORGANOSEG"
VITS: dict[str, dict[str, Any]] = {
    # Size, depth, heads, stochastic depth and the blocks with global attention, from detectron2's ViTDet project.
    "mask_rcnn_vitdet_b": {"DIM": 768, "DEPTH": 12, "HEADS": 12, "DROP_PATH": 0.1},
    "mask_rcnn_vitdet_l": {"DIM": 1024, "DEPTH": 24, "HEADS": 16, "DROP_PATH": 0.4},
}


def build_config(options: Detectron2Options, classes: int) -> Any:
    """A frozen ``CfgNode`` for ``GeneralizedRCNN``.

    Raises
    ------
    UsageError
        ``options.config`` names something that detectron2 does not know.
    """
    if options.config:
        cfg = new_config(_has_points(options.config))
        cfg.MODEL.MASK_ON = False  # as in detectron2's defaults, which the settings differ from
        apply_settings(cfg, options.config)
    else:
        cfg = new_config(options.architecture.startswith("pointrend"))
        _network(cfg, options)
        _heads(cfg, options)
    _classes(cfg, classes)
    _limits(cfg, options)
    cfg.freeze()
    return cfg


def _has_points(settings: Mapping[str, Any]) -> bool:
    model = settings.get("MODEL")
    found = model if isinstance(model, Mapping) else {}
    heads = found.get("ROI_HEADS")
    name = heads.get("NAME") if isinstance(heads, Mapping) else None
    return "POINT_HEAD" in found or name == "PointRendROIHeads"


def new_config(points: bool = False) -> Any:
    """detectron2's defaults and ours; loads no weights and touches no data set.

    Parameters
    ----------
    points
        With the settings of PointRend, one of detectron2's projects.

    Raises
    ------
    UsageError
        PointRend cannot be imported.
    """
    from detectron2.config import CfgNode, get_cfg

    cfg = get_cfg()
    if points:
        _add_points(cfg)
    cfg.MODEL[BACKBONE_NODE] = CfgNode(
        {"DIM": 768, "DEPTH": 12, "HEADS": 12, "DROP_PATH": 0.1, "WINDOW": 14, "IMAGE": 1024}
    )
    cfg.MODEL[BACKBONE_NODE].PADDING = "symmetric"
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.MASK_ON = True
    return cfg


def _add_points(cfg: Any) -> None:
    try:
        from detectron2.projects.point_rend import add_pointrend_config
    except ImportError as error:
        raise UsageError(
            f"PointRend cannot be imported: {error}",
            where="model.options.architecture",
            remedy="detectron2's projects need OpenCV: pip install opencv-python-headless",
        ) from error
    add_pointrend_config(cfg)


def _classes(cfg: Any, classes: int) -> None:
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = classes
    if "POINT_HEAD" in cfg.MODEL:
        cfg.MODEL.POINT_HEAD.NUM_CLASSES = classes


def _network(cfg: Any, o: Detectron2Options) -> None:
    model, name = cfg.MODEL, o.architecture
    model.BACKBONE.FREEZE_AT = o.frozen_stages
    model.RESNETS.NORM = o.norm
    model.FPN.OUT_CHANNELS = o.width
    # The zoo's pyramids have no normalisation; a network that begins at random cannot do without.
    model.FPN.NORM = "GN" if o.norm == "GN" else ""
    model.PIXEL_MEAN, model.PIXEL_STD = list(o.pixel_mean or ()), list(o.pixel_std or ())
    if "X_101" in name:
        model.RESNETS.DEPTH = 101
        model.RESNETS.NUM_GROUPS, model.RESNETS.WIDTH_PER_GROUP = 32, 8
        model.RESNETS.STRIDE_IN_1X1 = False
    elif "_R_" in name:
        model.RESNETS.DEPTH = int(name.split("_R_")[1].split("_")[0])
    if "_R_18" in name:
        model.RESNETS.RES2_OUT_CHANNELS = 64
    if name.endswith("FPN"):
        mobile = "mobilenet" in name
        model[BACKBONE_NODE].PADDING = o.padding
        _pyramid(cfg, "organoseg_mobilenet_fpn" if mobile else "build_resnet_fpn_backbone")
    elif "vitdet" in name:
        _vit(cfg, name)
    elif name.endswith("DC5"):
        model.RESNETS.OUT_FEATURES, model.RESNETS.RES5_DILATION = ["res5"], 2
        model.RPN.IN_FEATURES = model.ROI_HEADS.IN_FEATURES = ["res5"]


def _pyramid(cfg: Any, builder: str) -> None:
    model = cfg.MODEL
    model.BACKBONE.NAME = builder
    model.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    model.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    model.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    model.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    model.RPN.PRE_NMS_TOPK_TRAIN, model.RPN.PRE_NMS_TOPK_TEST = 2000, 1000


def _vit(cfg: Any, name: str) -> None:
    _pyramid(cfg, "organoseg_vitdet")
    for key, value in VITS[name].items():
        cfg.MODEL[BACKBONE_NODE][key] = value
    cfg.MODEL.FPN.NORM = "LN"
    cfg.MODEL.RPN.CONV_DIMS = [-1, -1]
    cfg.MODEL.ROI_BOX_HEAD.NORM = cfg.MODEL.ROI_MASK_HEAD.NORM = "LN"
    cfg.MODEL.ROI_BOX_HEAD.NUM_CONV = 4


def _heads(cfg: Any, o: Detectron2Options) -> None:
    model, name = cfg.MODEL, o.architecture
    model.ANCHOR_GENERATOR.ASPECT_RATIOS = [list(o.aspect_ratios)]
    sizes = [size * o.upscale for size in o.anchors or ()]
    pyramid = model.RPN.IN_FEATURES[0] == "p2"
    model.ANCHOR_GENERATOR.SIZES = [[s] for s in sizes] if pyramid else [sizes]
    model.ROI_MASK_HEAD.NAME = "MaskRCNNConvUpsampleHead"
    if name.endswith("C4"):
        model.ROI_HEADS.NAME = "Res5ROIHeads"
        model.ROI_MASK_HEAD.CONV_DIM = 256
        return
    model.ROI_HEADS.NAME = "StandardROIHeads"
    model.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    model.ROI_BOX_HEAD.NUM_FC = 1 if "vitdet" in name else 2
    model.ROI_BOX_HEAD.FC_DIM = o.box_width
    model.ROI_BOX_HEAD.CONV_DIM = o.width
    model.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    model.ROI_MASK_HEAD.NUM_CONV = 4
    model.ROI_MASK_HEAD.CONV_DIM = o.width
    model.ROI_MASK_HEAD.POOLER_RESOLUTION = 14
    if o.norm == "GN" and "vitdet" not in name:
        model.ROI_MASK_HEAD.NORM = "GN"
    if name.startswith("cascade"):
        model.ROI_HEADS.NAME = "CascadeROIHeads"
        model.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
        model.RPN.POST_NMS_TOPK_TRAIN = 2000
    elif name.startswith("pointrend"):
        _point_rend(model, o)


def _point_rend(model: Any, o: Detectron2Options) -> None:
    model.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES = True
    head = model.ROI_MASK_HEAD
    head.POOLER_TYPE, head.NAME = "", "PointRendMaskHead"
    head.FC_DIM, head.NUM_FC, head.OUTPUT_SIDE_RESOLUTION = o.box_width, 2, 7
    head.IN_FEATURES, head.POINT_HEAD_ON = ["p2"], True
    head.NORM = ""
    model.POINT_HEAD.FC_DIM, model.POINT_HEAD.NUM_FC = 256, 3
    model.POINT_HEAD.IN_FEATURES = ["p2"]


def _limits(cfg: Any, o: Detectron2Options) -> None:
    """What must not lose organoids, whoever wrote the rest."""
    model, proposals = cfg.MODEL, int(o.proposals or 1000)
    cfg.TEST.DETECTIONS_PER_IMAGE = int(o.max_instances or 100)
    model.ROI_HEADS.NMS_THRESH_TEST = o.nms
    model.RPN.POST_NMS_TOPK_TEST = proposals
    model.RPN.POST_NMS_TOPK_TRAIN = max(model.RPN.POST_NMS_TOPK_TRAIN, proposals)
    if not o.config:
        for key in ("PRE_NMS_TOPK_TRAIN", "PRE_NMS_TOPK_TEST"):
            model.RPN[key] = max(model.RPN[key], proposals)
    model.RPN.BATCH_SIZE_PER_IMAGE = o.anchors_sampled
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = int(o.regions_sampled or 512)


def apply_settings(cfg: Any, settings: Mapping[str, Any]) -> None:
    """Put an imported model's settings over ``cfg``; types are checked by detectron2's own rules.

    Raises
    ------
    UsageError
        An unknown setting, a value of another type, or one that is no plain value.
    """
    from detectron2.config import CfgNode

    for section in settings:
        if section not in SECTIONS:
            raise UsageError(
                f"setting {section!r} does not belong to a model",
                where="model.options.config",
                remedy=f"Only {', '.join(SECTIONS)} describe a network.",
            )
    try:
        cfg.merge_from_other_cfg(CfgNode(_plain(settings)))
    except (KeyError, ValueError, AssertionError) as error:
        raise UsageError(
            f"detectron2 does not take these settings: {error}",
            where="model.options.config",
            remedy="Settings of projects outside detectron2 and its PointRend cannot be imported.",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UsageError(
        f"{type(value).__name__} {value!r} is no plain value", where="model.options.config"
    )
