"""Mask R-CNN and its relatives, by detectron2: an optional part that is imported only when a recipe names it."""
