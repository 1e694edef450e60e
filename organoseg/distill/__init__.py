"""Guided distillation and its kin, written against the Segmenter protocol."""
