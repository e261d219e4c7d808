"""The final retraining: the best of a search again, with fresh seeds, before a front is declared.

The score that chose a candidate flatters it, the more the noisier scores are; fresh ones do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..config import Final
from ..pareto import best_first


def finalists(completed: Mapping[int, Sequence[float]], number: int) -> list[int]:
    """Whom to train again: the front first, then the next layers; the least crowded of a layer.

    completed: losses of all trials that ended at the top rung, by the trials' numbers.
    """
    numbers = sorted(completed)
    order = best_first(np.array([completed[n] for n in numbers])) if numbers else []
    return [numbers[row] for row in order[:number]]


class Finals:
    """Which retrainings there are to be, and which have ended."""

    def __init__(self, final: Final | None) -> None:
        self._final = final
        self._completed: dict[int, Sequence[float]] = {}
        self._ended: set[tuple[int, int]] = set()
        self._chosen: list[int] | None = None

    def completed(self, number: int, losses: Sequence[float]) -> None:
        """A trial ended well at the top rung."""
        self._completed[number] = losses
        self._chosen = None

    def ended(self, number: int, repeat: int) -> None:
        """A retraining ended, well or not."""
        self._ended.add((number, repeat))

    @property
    def to_come(self) -> int:
        """How many trainings there are to be if the search ends now."""
        if self._final is None:
            return 0
        if self._ended:  # of those chosen now, perhaps only some
            return len(self.left())
        return min(self._final.retrain, len(self._completed)) * self._final.seeds

    def left(self) -> list[tuple[int, int]]:
        """The trainings that are left, as trial and repeat: every finalist once, then all again,
        so that a search that runs out of time has treated them alike."""
        if self._final is None:
            return []
        if self._chosen is None:
            self._chosen = finalists(self._completed, self._final.retrain)
        repeats = range(1, self._final.seeds + 1)
        every = ((number, repeat) for repeat in repeats for number in self._chosen)
        return [place for place in every if place not in self._ended]
