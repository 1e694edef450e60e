"""The stages of a run, one method a file: what a step is made of, and what has to happen before it."""

from __future__ import annotations

from organoseg.training.methods import Guided, Supervised
from organoseg.training.setting import Setting
from organoseg.training.stages.conductor import Conductor, Trained
from organoseg.training.stages.guided import GuidedStages

#: Who leads the run of a recipe's method.
CONDUCTORS: dict[type, type[Conductor]] = {Supervised: Conductor, Guided: GuidedStages}


def conductor_of(setting: Setting) -> Conductor:
    """Who leads a run, by the method of its recipe."""
    return CONDUCTORS[type(setting.recipe.method)](setting)


__all__ = ["CONDUCTORS", "Conductor", "Trained", "conductor_of"]
