"""What people look at: overlays, galleries and the report of the demo."""

from organoseg.report.demo import DemoReport, Method
from organoseg.report.gallery import Found, GalleryRow, gallery, write_gallery
from organoseg.report.html import write_demo_report
from organoseg.report.overlay import overlay

__all__ = [
    "DemoReport",
    "Found",
    "GalleryRow",
    "Method",
    "gallery",
    "overlay",
    "write_demo_report",
    "write_gallery",
]
