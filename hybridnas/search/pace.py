"""How fast a search goes, and how long it will."""

from __future__ import annotations

from datetime import UTC, datetime

from ..store import SessionRecord, is_alive
from .view import StudyView


def alive_session(view: StudyView) -> SessionRecord | None:
    """The run of the search that goes on now."""
    now = datetime.now(UTC)
    return next((session for session in view.sessions if is_alive(session, now)), None)


def is_left(view: StudyView) -> bool:
    """Whether nothing drives the study though its last run did not end it: it was interrupted,
    killed or lost, or stopped at an error."""
    if not view.sessions or alive_session(view) is not None:
        return False
    return view.sessions[-1].end_reason in (None, "interrupted", "lost", "error")


def _seconds_waited(view: StudyView, session: SessionRecord) -> float:
    """Of a run, until its first training began: Ray and its processes start once, so that what is
    left takes no more of it."""
    began = [
        run.evaluation.started_at
        for row in view.rows
        for run in row.runs
        if run.evaluation and not run.reused
    ]
    own = [moment for moment in began if session.started_at <= moment <= session.last_seen_at]
    return (min(own) - session.started_at).total_seconds() if own else 0.0


def candidates_per_hour(view: StudyView) -> float | None:
    """Trials that were trained and ended in the last run of the search, by its hours since its
    first training began; None without a run, or before the first."""
    if not view.sessions:
        return None
    session = view.sessions[-1]
    seconds = session.duration_s - _seconds_waited(view, session)
    ended = [
        max(e.ended_at for run in row.runs if not run.reused and (e := run.evaluation))
        for row in view.rows
        if row.state in ("ok", "failed", "pruned")
        and any(run.evaluation and not run.reused for run in row.runs)
    ]
    number = sum(moment >= session.started_at for moment in ended)
    return number / seconds * 3600 if number and seconds > 0 else None


def looked_up(view: StudyView) -> int:
    """Trials of the last run of the search that were known already: `candidates_per_hour` leaves
    them aside, since they take no time."""
    if not view.sessions:
        return 0
    began = view.sessions[-1].started_at
    new = (row.runs for row in view.rows if row.created_at >= began)
    return sum(bool(runs) and all(run.reused for run in runs) for runs in new)


def hours_left(view: StudyView) -> float | None:
    """Of a search that runs, by the budget that ends first, at the pace of its last run.

    None where nobody knows: nothing runs, or nothing has ended yet, or trials are trained at
    several rungs, or again at the end, so that a number of trials is no number of trainings.
    """
    if alive_session(view) is None:
        return None
    budget, cost = view.study.budget, view.cost_so_far()
    found = []
    if budget.hours is not None:
        found.append(budget.hours - cost["wall_hours"])
    waited = sum(_seconds_waited(view, session) for session in view.sessions) / 3600
    if budget.gpu_hours is not None and cost["gpu_hours"] and cost["wall_hours"] > waited:
        pace = cost["gpu_hours"] / (cost["wall_hours"] - waited)
        found.append((budget.gpu_hours - cost["gpu_hours"]) / pace)
    one_training_each = len(view.study.fidelities) == 1 and view.study.final is None
    rate = candidates_per_hour(view)
    if budget.trials is not None and one_training_each and rate is not None:
        counts = view.counts()
        ended = sum(counts[state] for state in ("ok", "failed", "pruned"))
        found.append((budget.trials - ended) / rate)
    return max(0.0, min(found)) if found else None
