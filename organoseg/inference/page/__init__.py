"""report.html of a run: counts, sizes, plates and pictures on one page that needs no network."""

from organoseg.inference.page.report import write_report

__all__ = ["write_report"]
