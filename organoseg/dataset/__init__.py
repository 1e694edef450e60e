"""Labelled images: COCO in, groups, splits, duplicates, and synthetic organoids."""

from organoseg.dataset.coco import load_coco
from organoseg.dataset.labelled import LabelledDataset, LabelledImage
from organoseg.dataset.splits import Split, few_label_split, split_by_group

__all__ = [
    "LabelledDataset",
    "LabelledImage",
    "Split",
    "few_label_split",
    "load_coco",
    "split_by_group",
]
