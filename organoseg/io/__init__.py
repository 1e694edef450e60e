"""Readers and writers: one format a file."""

from organoseg.io.csv_table import write_measurements, write_table
from organoseg.io.formats import Reader, find_images, read_image, register, suffixes
from organoseg.io.groups import group_of
from organoseg.io.instances_json import read_instances, write_instances
from organoseg.io.label_tiff import write_labels
from organoseg.io.measurements import COLUMNS, measure

__all__ = [
    "COLUMNS",
    "Reader",
    "find_images",
    "group_of",
    "measure",
    "read_image",
    "read_instances",
    "register",
    "suffixes",
    "write_instances",
    "write_labels",
    "write_measurements",
    "write_table",
]
