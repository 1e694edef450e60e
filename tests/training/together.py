"""A run in one or several processes that writes down the loss of every step; started by tests.

    python -m tests.training.together RECIPE OUT LOG [KILL_AT]
    python -m torch.distributed.run --standalone --nproc-per-node 2 -m tests.training.together ...

With KILL_AT, the process of rank 1 ends itself without a word after that step.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from organoseg.training.loop import Loop
from organoseg.training.run import train


def main(recipe: str, out: str, log: str, kill_at: int | None) -> None:
    """Train; every process writes its own log."""
    path = Path(f"{log}.{os.environ.get('RANK', '0')}")
    one = Loop._one

    def watched(self: Loop, step: int, *args: Any) -> None:
        one(self, step, *args)
        if step + 1 == kill_at and self.crew.rank == self.crew.size - 1:
            os.kill(os.getpid(), signal.SIGKILL)

    from organoseg.distill.descent import Descent

    descend = Descent.__call__

    def noted(self: Descent, student: Any, optimiser: Any, branches: Any, report: Any) -> None:
        descend(self, student, optimiser, branches, report)
        with path.open("a") as file:
            file.write(json.dumps({"total": report.total, "gradient": report.gradient}) + "\n")

    Loop._one, Descent.__call__ = watched, noted  # type: ignore[method-assign]
    train(Path(recipe), Path(out), resume=(Path(out) / "recipe.yaml").exists())


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]) if len(sys.argv) > 4 else None)
