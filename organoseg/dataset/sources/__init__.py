"""Labelled images of other programs and public sets, brought into one form."""

from organoseg.dataset.sources.bring_in import import_source
from organoseg.dataset.sources.importers import IMPORTERS
from organoseg.dataset.sources.record import ImportReport
from organoseg.dataset.sources.rules import Rules

__all__ = ["IMPORTERS", "ImportReport", "Rules", "import_source"]
