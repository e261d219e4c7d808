"""How a study came to its front: the hypervolume by hours of search and by GPU-hours spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from ..pareto import Floats, hypervolume, non_dominated
from ..store import SessionRecord
from .attributes import gpu_seconds
from .rows import Row
from .view import StudyView, box_of


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
    own = (replace(row, fresh=()) for row in view.finished)
    ended = sorted(((_told_at(row), row) for row in own if row.keeps(soft)), key=lambda p: p[0])
    if not ended:
        return []
    losses = view.losses([row for _, row in ended])
    reference = view.reference_point(losses)
    spent = _Spent(view)
    moments: list[Moment] = []
    front: Floats = losses[:0]
    for (moment, _), point in zip(ended, losses, strict=True):
        if (front <= point).all(axis=1).any():
            continue
        front = np.vstack([front, point])
        front = front[non_dominated(front)]
        volume = hypervolume(front, reference) / box_of(reference)
        moments.append(Moment(*spent.until(moment), volume))
    moments.append(Moment(*spent.until(ended[-1][0]), moments[-1].hypervolume))
    return moments


def _told_at(row: Row) -> datetime:
    """When the search learned of a score: of one that was known before, as it was proposed."""
    assert row.evaluation is not None, "it is finished"
    return row.created_at if row.reused else row.evaluation.ended_at


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
