"""What a study has spent of its hours and GPU hours, over all its runs, and what is to come."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..config import Budget
from ..store import Evaluation, TrialRecord
from .attributes import gpu_seconds


@dataclass
class _Taken:
    """What the trainings at a rung took together, of those that ended well."""

    number: int = 0
    total_s: float = 0.0
    gpu_s: float = 0.0

    def mean(self) -> tuple[float, float]:
        """Seconds and GPU-seconds of one; 0 before the first."""
        each = 1 / max(1, self.number)
        return self.total_s * each, self.gpu_s * each


class Spending:
    """Counts wall-clock from its making on, and trainings as they end.

    width: how many trainings earlier runs had at once, on average.
    """

    def __init__(self, budget: Budget, before_s: float, top: int) -> None:
        """before_s: wall-clock of earlier runs. top: the highest rung."""
        self._budget, self._before_s, self._top = budget, before_s, top
        self._started = time.monotonic()
        self.width = 1.0
        self._begin()

    def _begin(self) -> None:
        self._gpu_s = self._trained_s = 0.0
        self._taken: defaultdict[int, _Taken] = defaultdict(_Taken)

    def recall(self, records: Iterable[TrialRecord]) -> None:
        """All that earlier runs trained, in place of what was told so far."""
        self._begin()
        for run in (run for record in records for run in record.runs):
            if run.evaluation is not None:
                self.ended(run.evaluation, run.rung, run.reused)
        if self._before_s:
            self.width = max(1.0, self._trained_s / self._before_s)

    def ended(self, evaluation: Evaluation, rung: int, reused: bool) -> None:
        """An evaluation; whoever paid for it, it says what another one at its rung will take."""
        total_s, gpu_s = evaluation.timing.get("total_s") or 0.0, gpu_seconds(evaluation)
        if not reused:
            self._gpu_s += gpu_s
            self._trained_s += total_s
        if evaluation.status == "ok":
            taken = self._taken[rung]
            taken.number += 1
            taken.total_s += total_s
            taken.gpu_s += gpu_s

    def over(self, finals: int = 0, width: float = 1.0, running: Sequence[int] = ()) -> str | None:
        """`hours` or `gpu_hours` where that budget is spent, else None.

        finals: so many trainings at the top rung are to be paid from it too, `width` at a time,
        once those that run, by their rungs, have ended; each at the mean cost of those so far.
        """
        final_s, final_gpu_s = self._taken[self._top].mean()
        until_then = [self._taken[rung].mean() for rung in running] if finals else []
        wall_s = self._before_s + time.monotonic() - self._started + final_s * finals / width
        wall_s += max((total_s for total_s, _ in until_then), default=0.0)
        if self._budget.hours is not None and wall_s >= 3600 * self._budget.hours:
            return "hours"
        gpu_s = self._gpu_s + final_gpu_s * finals + sum(gpu_s for _, gpu_s in until_then)
        if self._budget.gpu_hours is not None and gpu_s >= 3600 * self._budget.gpu_hours:
            return "gpu_hours"
        return None
