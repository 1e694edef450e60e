"""The method section of a recipe, one method a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from organoseg.training.methods.from_archive import FromArchive
from organoseg.training.methods.guided import PAPER_TRAINING, PAPER_VIEWS, Guided
from organoseg.training.methods.section import Section, Strict
from organoseg.training.methods.supervised import Supervised

#: What ``method.name`` may say. A new method is a section here and a conductor in ``training.stages``.
Method = Annotated[Supervised | Guided, Field(discriminator="name")]

__all__ = [
    "PAPER_TRAINING",
    "PAPER_VIEWS",
    "FromArchive",
    "Guided",
    "Method",
    "Section",
    "Strict",
    "Supervised",
]
