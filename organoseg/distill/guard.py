"""Do not hand the class to a student who knows less than the teacher."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Verdict:
    """What to do at the switch."""

    switch: bool
    reason: str


def judge(student: float, teacher: float, tolerance: float, measured_on: str) -> Verdict:
    """Compare the student's AP with its teacher's; NaN (nothing to measure) lets it pass."""
    facts = f"AP of the student {student:.3f}, of the teacher {teacher:.3f} on {measured_on}"
    if student < teacher - tolerance:
        return Verdict(False, f"{facts}: more than {tolerance:.2f} behind, the teacher stays")
    if student < teacher:
        facts += (
            f": {teacher - student:.3f} behind, within the {tolerance:.2f} that is allowed to a student whose training "
            "is not over"
        )
    return Verdict(True, f"{facts}: the student takes over")
