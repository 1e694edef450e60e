"""The actions of a review: their words, their keys and what they tell the user. One table for all views."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """One thing a reviewer can do.

    name: the method of the review widget that does it; title: on its button and in the table of keys; key: as
    napari writes keys, free on a Labels layer; tip: what happens, in a sentence; group: where its button stands.
    """

    name: str
    title: str
    key: str
    tip: str
    group: str


ACTIONS = (
    Action("accept", "Accept", "A", "It is right as drawn; go to the next one.", "judge"),
    Action(
        "reject",
        "Reject",
        "R",
        "The model was wrong: there is no organoid here. It stays in the table, and training learns the place as "
        "background; go to the next one.",
        "judge",
    ),
    Action("next", "Next", "N", "Go to the next one without judging this one.", "judge"),
    Action("previous", "Back", "K", "Go back to the one before.", "judge"),
    Action("draw", "Draw new", "D", "Paint an organoid that was missed.", "change"),
    Action(
        "split",
        "Split",
        "S",
        "Make two of it: erase a line through it first, or let it be cut at its waist.",
        "change",
    ),
    Action(
        "merge",
        "Merge",
        "G",
        "Make one of it and the organoid under the mouse pointer.",
        "change",
    ),
    Action(
        "delete",
        "Delete",
        "T",
        "Take away a double or a slip of the brush: nothing is learnt from it. Where there is no organoid at all, "
        "reject it.",
        "change",
    ),
    Action("next_class", "Class", "C", "Give it the next class.", "change"),
    Action("undo", "Undo", "U", "Take the last action back, as often as you like.", "change"),
    Action("redo", "Redo", "Y", "Do again what was taken back.", "change"),
    Action("jump", "Jump", "J", "Review the organoid under the mouse pointer.", "look"),
    Action("show_outlines", "Outlines", "O", "Show or hide the other organoids.", "look"),
    Action(
        "complete",
        "Image done",
        "W",
        "Every organoid of this image is outlined now: all of it may be used for training.",
        "image",
    ),
)

#: Keys that napari users know; they do the same as U and Y, so that napari's own undo, which would reach into the
#: organoid before, is never met.
ALSO = {"Control-Z": "undo", "Control-Shift-Z": "redo"}

#: Letters that napari's Labels layers use themselves (0.9); a review key must not be one of them.
TAKEN = frozenset("EPFLZMXBV1234567") | {"Space", "Escape", "Enter", "-", "=", "[", "]"}
