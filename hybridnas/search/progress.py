"""How a study's front grew: over trainings, hours and GPU hours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from ..store import RunRecord, SessionRecord
from .rows import Row
from .spending import gpu_seconds
from .view import StudyView
from .volume import Floats, reference_point, searched, volume


@dataclass(frozen=True, slots=True)
class Moment:
    """After a trial ended well at the top rung.

    results: how many had, with it, whether they were trained or known before. trainings: until
    then, those that were known before left out. hours: of wall-clock that the search ran.
    hypervolume: of all trials until then, with the search's own scores.
    """

    trial: int
    results: int
    trainings: int
    hours: float
    gpu_hours: float
    hypervolume: float


def progress(view: StudyView, reference: Mapping[str, float] | None = None) -> list[Moment]:
    """In the order in which trials ended, as far as they keep the soft constraints.

    By what the search itself scored: the final retraining measures anew, and finds nothing.
    reference: as of `volume`; None: `reference_point` of this study.
    """
    soft = view.study.soft()
    kept = sorted((row for row in searched(view) if row.keeps(soft)), key=_ended_at)
    point = reference_point([view]) if reference is None else reference
    trained = sorted(
        (run.evaluation.ended_at, gpu_seconds(run.evaluation))
        for row in view.rows
        for run in _searched(row)
        if run.evaluation is not None and not run.reused
    )
    front: Floats = np.empty((0, len(point)))
    found: list[Moment] = []
    number, gpu_s, value = 0, 0.0, 0.0
    for row, losses in zip(kept, view.losses(kept, list(point)), strict=True):
        now = _ended_at(row)
        while number < len(trained) and trained[number][0] <= now:
            gpu_s += trained[number][1]
            number += 1
        if not (front <= losses).all(axis=1).any():
            front = np.concatenate([front[~(losses <= front).all(axis=1)], losses[None]])
            value = volume(front, point)
        hours = _hours_until(now, view.sessions)
        found.append(Moment(row.number, len(found) + 1, number, hours, gpu_s / 3600, value))
    return found


def _searched(row: Row) -> list[RunRecord]:
    return [run for run in row.runs if not run.repeat]


def _ended_at(row: Row) -> datetime:
    """When the study knew its score: one that was known before, as soon as it was proposed."""
    ended = [r.evaluation.ended_at for r in _searched(row) if r.evaluation and not r.reused]
    return max(ended, default=row.created_at)


def _hours_until(moment: datetime, sessions: Sequence[SessionRecord]) -> float:
    """Pauses between two runs of the search do not count."""
    seconds = 0.0
    for session in sessions:
        end = min(session.ended_at or session.last_seen_at, moment)
        seconds += max(0.0, (end - session.started_at).total_seconds())
    return seconds / 3600
