"""What a study has spent of its hours and GPU hours, over all its runs, and what is to come."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..config import Budget
from ..store import Evaluation, Place, TrialRecord


def gpu_seconds(evaluation: Evaluation | None) -> float:
    """GPU-seconds of an evaluation, by its share of the GPU."""
    return (evaluation.timing.get("gpu_s") or 0.0) if evaluation else 0.0


@dataclass
class _Taken:
    """What the trainings of a task at a rung took together, of those that ended well."""

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

    def __init__(
        self, budget: Budget, before_s: float, top: int, tasks: Sequence[str] = ("",)
    ) -> None:
        """before_s: wall-clock of earlier runs. top: the highest rung. tasks: on each of which a
        candidate is trained there."""
        self._budget, self._before_s, self._top, self._tasks = budget, before_s, top, tasks
        self._started = time.monotonic()
        self.width = 1.0
        self._begin()

    def _begin(self) -> None:
        self._gpu_s = self._trained_s = 0.0
        self._taken: defaultdict[tuple[int, str], _Taken] = defaultdict(_Taken)

    def recall(self, records: Iterable[TrialRecord]) -> None:
        """All that earlier runs trained, in place of what was told so far."""
        self._begin()
        for run in (run for record in records for run in record.runs):
            if run.evaluation is not None:
                self.ended(run.evaluation, run.place, run.reused)
        if self._before_s:
            self.width = max(1.0, self._trained_s / self._before_s)

    def ended(self, evaluation: Evaluation, place: Place, reused: bool) -> None:
        """An evaluation; whoever paid for it, it says what another one at its place will take."""
        total_s, gpu_s = evaluation.timing.get("total_s") or 0.0, gpu_seconds(evaluation)
        if not reused:
            self._gpu_s += gpu_s
            self._trained_s += total_s
        if evaluation.status == "ok":
            taken = self._taken[place.rung, place.task]
            taken.number += 1
            taken.total_s += total_s
            taken.gpu_s += gpu_s

    def over(
        self, finals: int = 0, width: float = 1.0, running: Sequence[Place] = ()
    ) -> str | None:
        """`hours` or `gpu_hours` where that budget is spent, else None.

        finals: so many candidates at the top rung are to be paid from it too, `width` at a time,
        once those that run have ended; each training at the mean cost of those so far.
        """
        final_s, final_gpu_s = self._from(Place(self._top, 0, self._tasks[0]))
        until_then = [self._from(place) for place in running] if finals else []
        wall_s = self._before_s + time.monotonic() - self._started + final_s * finals / width
        wall_s += max((total_s for total_s, _ in until_then), default=0.0)
        if self._budget.hours is not None and wall_s >= 3600 * self._budget.hours:
            return "hours"
        gpu_s = self._gpu_s + final_gpu_s * finals + sum(gpu_s for _, gpu_s in until_then)
        if self._budget.gpu_hours is not None and gpu_s >= 3600 * self._budget.gpu_hours:
            return "gpu_hours"
        return None

    def _from(self, place: Place) -> tuple[float, float]:
        """Seconds and GPU-seconds of a candidate's trainings at a rung, from that on a task on."""
        left = self._tasks[self._tasks.index(place.task) :]
        means = [self._taken[place.rung, task].mean() for task in left]
        return sum(total_s for total_s, _ in means), sum(gpu_s for _, gpu_s in means)
