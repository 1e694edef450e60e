"""Mask2Former (Cheng et al. 2022) as an engine: the architecture of guided distillation's own paper."""
