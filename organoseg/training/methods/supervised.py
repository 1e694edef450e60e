"""Labels only."""

from __future__ import annotations

from typing import Literal

from organoseg.training.methods.section import Section


class Supervised(Section):
    """Labels only."""

    name: Literal["supervised"] = "supervised"
