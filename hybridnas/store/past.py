"""What trainings took, counted and summed by the database: studies have thousands of them.

Each function is the work of one transaction: `Store` says what it means to callers.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .models import EvaluationRow, ProtocolRow, RunRow, SessionRow
from .records import Ended, Place, Training


def protocols(session: Session) -> dict[str, str]:
    return dict(session.execute(select(ProtocolRow.digest, ProtocolRow.json)).all())


def trained(session: Session, protocol_digests: Collection[str]) -> list[Training]:
    seconds = EvaluationRow.timing["total_s"].as_float()
    found = select(
        EvaluationRow.architecture_digest,
        seconds,
        EvaluationRow.metrics["macs"].as_float(),
        EvaluationRow.machine["device"].as_string(),
    ).where(
        EvaluationRow.protocol_digest.in_(protocol_digests),
        EvaluationRow.status == "ok",
        seconds > 0,
    )
    return [Training(*row) for row in session.execute(found.order_by(EvaluationRow.id))]


def scored(session: Session, protocol_digest: str) -> set[str]:
    found = select(EvaluationRow.architecture_digest).where(
        EvaluationRow.protocol_digest == protocol_digest, EvaluationRow.status == "ok"
    )
    return set(session.scalars(found))


def ended(session: Session, study: str) -> list[Ended]:
    kind = (RunRow.task, RunRow.rung, (RunRow.repeat > 0).label("retraining"))
    found = (
        select(*kind, func.count())
        .where(RunRow.study == study, RunRow.evaluation_id.is_not(None))
        .group_by(*kind)
    )
    return [Ended(task, rung, bool(again), n) for task, rung, again, n in session.execute(found)]


def terms(session: Session, study: str) -> set[tuple[str, Place]]:
    of_run = (RunRow.protocol_digest, RunRow.rung, RunRow.repeat, RunRow.task)
    found = session.execute(select(*of_run).where(RunRow.study == study).distinct())
    return {(digest, Place(rung, repeat, task)) for digest, rung, repeat, task in found}


def gpu_seconds(session: Session, study: str) -> float:
    found = (
        select(func.sum(EvaluationRow.timing["gpu_s"].as_float()))
        .join(RunRow, RunRow.evaluation_id == EvaluationRow.id)
        .where(RunRow.study == study, RunRow.reused.is_(False))
    )
    return session.scalar(found) or 0.0


def waits(session: Session) -> list[float]:
    first = func.min(EvaluationRow.started_at)
    found = (
        select(SessionRow.started_at, first)
        .join(RunRow, RunRow.study == SessionRow.study)
        .join(EvaluationRow, RunRow.evaluation_id == EvaluationRow.id)
        .where(
            RunRow.reused.is_(False),
            EvaluationRow.started_at.between(SessionRow.started_at, SessionRow.last_seen_at),
        )
        .group_by(SessionRow.id, SessionRow.started_at)
    )
    return [(began - started).total_seconds() for started, began in session.execute(found)]
