"""How a study came to its front: the hypervolume by hours of search and by GPU-hours spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ..objectives import BEST
from ..pareto import Floats, hypervolume, non_dominated
from ..store import SessionRecord
from .attributes import gpu_seconds
from .rows import Row
from .view import StudyView


@dataclass(frozen=True)
class Moment:
    """hours: of search until then, breaks between its runs left out. gpu_hours: spent on all
    trainings that had ended. hypervolume: as of StudyView.hypervolume, by the search's scores."""

    hours: float
    gpu_hours: float
    hypervolume: float


def hypervolume_history(view: StudyView) -> list[Moment]:
    """Where the hypervolume rose, in turn, and how it stood at the last result; empty before the
    first.

    By what the search itself scored: the final retraining measures anew, and finds nothing. The
    reference point is that of all results, so that the last value is the search's.
    """
    soft = view.study.constraints.soft()
    ended = sorted((row for row in view.finished if row.keeps(soft)), key=_told_at)
    if not ended:
        return []
    losses = _losses(ended, view.objectives)
    reference = _reference_point(view, losses)
    box = float(np.prod([1.0 if edge == 0.0 else edge for edge in reference]))
    spent = _Spent(view)
    moments: list[Moment] = []
    front: Floats = losses[:0]
    for row, point in zip(ended, losses, strict=True):
        if (front <= point).all(axis=1).any():
            continue
        front = np.vstack([front, point])
        front = front[non_dominated(front)]
        volume = hypervolume(front, reference) / box
        moments.append(Moment(*spent.until(_told_at(row)), volume))
    moments.append(Moment(*spent.until(_told_at(ended[-1])), moments[-1].hypervolume))
    return moments


def _told_at(row: Row) -> datetime:
    """When the search learned of a score: of one that was known before, as it was proposed."""
    assert row.evaluation is not None, "it is finished"
    return row.created_at if row.reused else row.evaluation.ended_at


def _losses(rows: Sequence[Row], names: Sequence[str]) -> Floats:
    """(rows, objectives) as the search scored them, signs such that lower is better."""

    def searched(row: Row, name: str) -> float:
        assert row.evaluation is not None, "it is finished"
        value = row.costs[name] if name in row.costs else row.evaluation.figure(name)
        assert value is not None, "it is finished"
        return value if BEST[name] == "minimize" else -value

    return np.array([[searched(row, name) for name in names] for row in rows])


def _reference_point(view: StudyView, losses: Floats) -> Floats:
    """As StudyView.hypervolume has it."""
    bounds = view.study.constraints.bounds() | view.study.constraints.soft()
    point = []
    for name, worst in zip(view.objectives, losses.max(axis=0), strict=True):
        bound = bounds.get(name)
        if BEST[name] == "maximize":
            point.append(0.0)
        else:
            point.append(float(worst) if bound is None or bound.max is None else bound.max)
    return np.array(point)


class _Spent:
    """What a study had cost until a moment."""

    def __init__(self, view: StudyView) -> None:
        self._sessions: Sequence[SessionRecord] = view.sessions
        runs = (run for row in view.rows for run in row.runs if not run.reused)
        ended = sorted(
            (run.evaluation.ended_at, gpu_seconds(run.evaluation))
            for run in runs
            if run.evaluation is not None
        )
        self._ends = np.array([moment.timestamp() for moment, _ in ended])
        self._seconds = np.concatenate([[0.0], np.cumsum([seconds for _, seconds in ended])])

    def until(self, moment: datetime) -> tuple[float, float]:
        """Hours of search, and GPU-hours."""
        lived = 0.0
        for session in self._sessions:
            end = min(session.ended_at or session.last_seen_at, moment)
            lived += max(0.0, (end - session.started_at).total_seconds())
        at = np.searchsorted(self._ends, moment.timestamp(), side="right")
        return lived / 3600, float(self._seconds[at]) / 3600
