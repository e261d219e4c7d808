"""What a study has spent of its hours and GPU hours, over all its runs."""

from __future__ import annotations

import time
from collections.abc import Iterable

from ..config import Budget
from ..store import Evaluation, TrialRecord
from .attributes import gpu_seconds


class Spending:
    """Counts wall-clock from its making on, and trainings as they end."""

    def __init__(self, budget: Budget, before_s: float) -> None:
        """before_s: wall-clock of earlier runs."""
        self._budget, self._before_s = budget, before_s
        self._started = time.monotonic()
        self._width_before = 1.0
        self._begin()

    def _begin(self) -> None:
        self._gpu_s = self._trained_s = 0.0
        self._at_top = 0
        self._top_s = self._top_gpu_s = 0.0

    def recall(self, records: Iterable[TrialRecord], top: int) -> None:
        """All that earlier runs trained, in place of what was told so far."""
        self._begin()
        for run in (run for record in records for run in record.runs):
            if run.evaluation is not None:
                self.ended(run.evaluation, run.rung == top, run.reused)
        if self._before_s:  # how many were trained at once, on average
            self._width_before = max(1.0, self._trained_s / self._before_s)

    def ended(self, evaluation: Evaluation, at_top: bool, reused: bool) -> None:
        """An evaluation. At the top rung it says what another one there will take, whoever paid
        for it."""
        total_s = evaluation.timing.get("total_s") or 0.0
        if not reused:
            self._gpu_s += gpu_seconds(evaluation)
            self._trained_s += total_s
        if at_top and evaluation.status == "ok":
            self._at_top += 1
            self._top_s += total_s
            self._top_gpu_s += gpu_seconds(evaluation)

    def over(self, reserved: float = 0.0, width: int = 1) -> str | None:
        """`hours` or `gpu_hours` where that budget is spent, else None.

        reserved: so many trainings at the top rung are to be paid from it too, at the mean cost
        of those so far; width: so many of them run at once, or as many as earlier runs had.
        """
        each = reserved / max(1, self._at_top)
        to_come_s = each * self._top_s / max(width, self._width_before)
        wall_s = self._before_s + time.monotonic() - self._started + to_come_s
        if self._budget.hours is not None and wall_s >= 3600 * self._budget.hours:
            return "hours"
        gpu_s = self._gpu_s + each * self._top_gpu_s
        if self._budget.gpu_hours is not None and gpu_s >= 3600 * self._budget.gpu_hours:
            return "gpu_hours"
        return None
