"""What a study has spent of its hours and GPU hours, over all its runs."""

from __future__ import annotations

import time

from ..config import Budget
from ..store import Evaluation
from .attributes import gpu_seconds


class Spending:
    """Counts wall-clock from its making on, and trainings as they end.

    gpu_s: GPU-seconds so far, of all runs.
    """

    def __init__(self, budget: Budget, before_s: float) -> None:
        """before_s: wall-clock of earlier runs."""
        self._budget, self._before_s, self.gpu_s = budget, before_s, 0.0
        self._started = time.monotonic()
        self._at_top = 0
        self._top_s = self._top_gpu_s = 0.0

    def at_the_top(self, evaluation: Evaluation) -> None:
        """An evaluation at the top rung, whoever paid for it: what another one will take."""
        self._at_top += 1
        self._top_s += evaluation.timing.get("total_s") or 0.0
        self._top_gpu_s += gpu_seconds(evaluation)

    def over(self, reserved: float = 0.0, width: int = 1) -> str | None:
        """`hours` or `gpu_hours` where that budget is spent, else None.

        reserved: so many trainings at the top rung are to be paid from it too, at the mean cost
        of those so far; width: so many of them run at once.
        """
        each = reserved / max(1, self._at_top)
        wall_s = self._before_s + time.monotonic() - self._started + each * self._top_s / width
        if self._budget.hours is not None and wall_s >= 3600 * self._budget.hours:
            return "hours"
        gpu_s = self.gpu_s + each * self._top_gpu_s
        if self._budget.gpu_hours is not None and gpu_s >= 3600 * self._budget.gpu_hours:
            return "gpu_hours"
        return None
