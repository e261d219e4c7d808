"""The front of a running search, as a small plot."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from ..config import Study
from ..objectives import is_cost, loss_sign
from ..pareto import non_dominated
from ..search.observer import Finished
from ..search.words import objective_text
from .dots import Group, Point, Scale, scatter

_FEWEST, _LEAST_HEIGHT, _WIDTH = 3, 4, 60  # results and lines that are worth a plot; its breadth


class FrontSoFar:
    """The results of this run of the search: the score over the first cost."""

    def __init__(self, study: Study) -> None:
        self._score = study.measured
        self._cost = next((name for name in study.objectives if is_cost(name)), None)
        self._points: list[Point] = []

    def add(self, result: Finished) -> None:
        """What ended; only results that count are drawn."""
        score, cost = result.metrics.get(self._score), self._cost
        if result.counts and score is not None and cost is not None and cost in result.costs:
            self._points.append((result.costs[cost], score))

    def lines(self, height: int) -> list[Text]:
        """The plot, so many lines high with its heading and axis; nothing where there is no room
        for it, or little to show."""
        inner = height - 2
        if len(self._points) < _FEWEST or inner < _LEAST_HEIGHT or self._cost is None:
            return []
        cost, points = self._cost, np.array(self._points)
        sign = loss_sign(self._score)
        on_front = non_dominated(points * np.array([1.0, sign]))
        groups = [
            Group([*map(tuple, points[~on_front])], "\N{MIDDLE DOT}", "dim"),
            Group([*map(tuple, points[on_front])], "\N{BLACK CIRCLE}", "bold blue"),
        ]
        (least, lowest), (most, highest) = points.min(axis=0), points.max(axis=0)
        across = Scale(least, most, lambda v: objective_text(cost, v), is_log=True)
        up = Scale(lowest, highest, lambda v: objective_text(self._score, v))
        heading = f"front so far: {on_front.sum()} of {len(points)}, {self._score} over {cost}"
        return [Text(heading, style="dim"), *scatter(groups, across, up, _WIDTH, inner)]
