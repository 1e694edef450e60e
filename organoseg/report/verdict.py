"""What a prediction got right: organoids found, invented and missed in one image."""

from dataclasses import dataclass

import numpy as np

from organoseg.core import Instances
from organoseg.evaluation.matching import match_image
from organoseg.report.overlay import Colour

# Told apart by colour-blind eyes too; missed ones are dashed besides.
FOUND: Colour = (64, 200, 255)
INVENTED: Colour = (255, 92, 40)
MISSED: Colour = (255, 230, 40)


@dataclass(frozen=True, eq=False)
class Verdict:
    """One image judged at IoU .5.

    shown: the predictions, then the labelled organoids they missed; colours, dashed: how to draw
    each of `shown`; found, invented, missed: how many.
    """

    shown: Instances
    colours: tuple[Colour, ...]
    dashed: tuple[bool, ...]
    found: int
    invented: int
    missed: int

    @property
    def caption(self) -> str:
        """Few words for under a picture."""
        return f"{self.found} found, {self.missed} missed, {self.invented} invented"


def judge(predictions: Instances, truth: Instances, score: float) -> Verdict:
    """Compare the predictions with at least `score` with the labels of the same image."""
    kept = predictions.select(predictions.scores.astype(np.float64) >= score)
    table = match_image(kept, truth)
    hits = table.partners[0] >= 0
    ranked = kept.select(np.argsort(-kept.scores.astype(np.float64), kind="stable"))
    missed = truth.select(~table.found())
    colours = [FOUND if hit else INVENTED for hit in hits.tolist()] + [MISSED] * len(missed)
    return Verdict(
        shown=ranked.union(missed),
        colours=tuple(colours),
        dashed=(False,) * len(ranked) + (True,) * len(missed),
        found=int(hits.sum()),
        invented=int((~hits).sum()),
        missed=len(missed),
    )
