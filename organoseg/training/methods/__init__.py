"""The method section of a recipe, one method a file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from organoseg.training.methods.class_agnostic import ClassAgnostic
from organoseg.training.methods.fast_student import FastStudent
from organoseg.training.methods.from_archive import FromArchive
from organoseg.training.methods.guided import PAPER_TRAINING, PAPER_VIEWS, Guided
from organoseg.training.methods.mutual import Mutual
from organoseg.training.methods.section import Section, Strict
from organoseg.training.methods.supervised import Supervised
from organoseg.training.methods.teacher_student import TeacherStudent

#: What ``method.name`` may say. A new method is a section here and a conductor in ``training.stages``.
Method = Annotated[
    Supervised | Guided | ClassAgnostic | Mutual | FastStudent, Field(discriminator="name")
]

__all__ = [
    "PAPER_TRAINING",
    "PAPER_VIEWS",
    "ClassAgnostic",
    "FastStudent",
    "FromArchive",
    "Guided",
    "Method",
    "Mutual",
    "Section",
    "Strict",
    "Supervised",
    "TeacherStudent",
]
