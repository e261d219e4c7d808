"""Trials, the leases on them, and the evaluations written under a lease.

Each function is the work of one transaction: `Store` says what it means to callers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import cast

from sqlalchemy import ColumnElement, and_, case, select, update
from sqlalchemy.orm import Session

from ..errors import StoreError
from .collector import collector_paused
from .json_values import finite
from .models import EvaluationRow, RunRow, TrialRow
from .records import Evaluation, Place, Reason, RunRecord, Status, TrialRecord
from .upsert import insert


def lease(
    session: Session,
    study: str,
    number: int,
    architecture_digest: str,
    protocol_digest: str,
    costs: Mapping[str, float] | None,
    place: Place,
    token: str,
) -> str:
    leased = {
        "architecture_digest": architecture_digest,
        "protocol_digest": protocol_digest,
        "token": token,
        "costs": costs,
    }
    same = and_(
        TrialRow.architecture_digest == architecture_digest,
        TrialRow.protocol_digest == protocol_digest,
    )
    row = insert(session, TrialRow).values(
        study=study, number=number, attempt=1, created_at=datetime.now(UTC), **leased
    )
    session.execute(
        row.on_conflict_do_update(
            index_elements=[TrialRow.study, TrialRow.number],
            set_={
                **leased,
                "attempt": case((same, TrialRow.attempt + 1), else_=1),
                "evaluation_id": None,
                "reason": None,
                "worker": None,
            },
        )
    )
    _put_run(session, study, number, place, protocol_digest, None)
    return token


def _put_run(
    session: Session,
    study: str,
    number: int,
    place: Place,
    protocol_digest: str,
    evaluation_id: int | None,
) -> None:
    """With an evaluation: a reused one."""
    ended = {
        "protocol_digest": protocol_digest,
        "evaluation_id": evaluation_id,
        "reused": evaluation_id is not None,
    }
    row = insert(session, RunRow).values(study=study, number=number, **place._asdict(), **ended)
    key = [RunRow.study, RunRow.number, RunRow.rung, RunRow.repeat, RunRow.task]
    session.execute(row.on_conflict_do_update(index_elements=key, set_=ended))


def record(session: Session, token: str, evaluation: Evaluation) -> int | None:
    """Locks the trial first: a second writer of the same token then finds the first's row."""
    trial = session.scalar(select(TrialRow).where(TrialRow.token == token).with_for_update())
    written = session.scalar(select(EvaluationRow.id).where(EvaluationRow.token == token))
    if written is not None or trial is None:
        return written
    given = (evaluation.architecture_digest, evaluation.protocol_digest)
    leased = (trial.architecture_digest, trial.protocol_digest)
    if given != leased:
        raise StoreError(
            f"trial {trial.number} of {trial.study!r} is leased for architecture and protocol "
            f"{leased}, got an evaluation of {given}"
        )
    row = _to_row(token, evaluation)
    session.add(row)
    session.flush()
    trial.evaluation_id = row.id
    session.execute(
        update(RunRow)
        .where(
            RunRow.study == trial.study,
            RunRow.number == trial.number,
            RunRow.protocol_digest == trial.protocol_digest,
            RunRow.evaluation_id.is_(None),
        )
        .values(evaluation_id=row.id)
    )
    return row.id


def is_open(session: Session, token: str) -> bool:
    found = select(TrialRow.evaluation_id).where(TrialRow.token == token)
    return any(evaluation_id is None for evaluation_id in session.scalars(found))


def take_up(session: Session, token: str, worker: str) -> bool:
    leased = and_(TrialRow.token == token, TrialRow.evaluation_id.is_(None))
    taken = select(TrialRow).where(leased).with_for_update()
    if (trial := session.scalar(taken)) is None:
        return False
    trial.worker = worker
    return True


def reuse(
    session: Session,
    study: str,
    number: int,
    architecture_digest: str,
    protocol_digest: str,
    evaluation_id: int,
    costs: Mapping[str, float] | None,
    place: Place,
    token: str,
) -> None:
    earlier = session.get(EvaluationRow, evaluation_id)
    wanted = (architecture_digest, protocol_digest)
    if earlier is None or (earlier.architecture_digest, earlier.protocol_digest) != wanted:
        raise StoreError(
            f"evaluation {evaluation_id} is not one of architecture and protocol {wanted}"
        )
    linked = {
        "architecture_digest": architecture_digest,
        "protocol_digest": protocol_digest,
        "token": token,
        "attempt": 0,
        "evaluation_id": evaluation_id,
        "reason": None,
        "worker": None,
        "costs": costs,
    }
    row = insert(session, TrialRow).values(
        study=study, number=number, created_at=datetime.now(UTC), **linked
    )
    session.execute(
        row.on_conflict_do_update(index_elements=[TrialRow.study, TrialRow.number], set_=linked)
    )
    _put_run(session, study, number, place, protocol_digest, evaluation_id)


def mark(session: Session, study: str, numbers: Collection[int], reason: str | None) -> None:
    chosen = and_(TrialRow.study == study, TrialRow.number.in_(numbers))
    known = set(session.scalars(select(TrialRow.number).where(chosen)))
    if unknown := sorted(set(numbers) - known):
        raise StoreError(f"no trial {unknown[0]} of study {study!r} in the database")
    session.execute(update(TrialRow).where(chosen).values(reason=reason))


def studies_of(session: Session, evaluation_id: int) -> set[str]:
    query = select(RunRow.study).where(RunRow.evaluation_id == evaluation_id).distinct()
    return set(session.scalars(query))


def set_weights(session: Session, evaluation_id: int, weights: Mapping[str, str] | None) -> None:
    row = session.get(EvaluationRow, evaluation_id)
    if row is None:
        raise StoreError(f"no evaluation {evaluation_id} in the database")
    row.weights = None if weights is None else dict(weights)


def evaluation(session: Session, evaluation_id: int) -> Evaluation | None:
    row = session.get(EvaluationRow, evaluation_id)
    return None if row is None else _to_evaluation(row)


def finished(session: Session, architecture_digest: str, protocol_digest: str) -> Evaluation | None:
    row = session.scalar(
        select(EvaluationRow)
        .where(
            EvaluationRow.architecture_digest == architecture_digest,
            EvaluationRow.protocol_digest == protocol_digest,
            EvaluationRow.status == "ok",
        )
        .order_by(EvaluationRow.id.desc())
        .limit(1)
    )
    return None if row is None else _to_evaluation(row)


def trial(session: Session, study: str, number: int) -> TrialRecord | None:
    return next(iter(_records(session, TrialRow.study == study, TrialRow.number == number)), None)


def trials(session: Session, study: str) -> list[TrialRecord]:
    with collector_paused():
        return _records(session, TrialRow.study == study)


def _records(session: Session, *conditions: ColumnElement[bool]) -> list[TrialRecord]:
    same_trial = and_(RunRow.study == TrialRow.study, RunRow.number == TrialRow.number)
    triples = session.execute(
        select(TrialRow, RunRow, EvaluationRow)
        .outerjoin(RunRow, same_trial)
        .outerjoin(EvaluationRow, RunRow.evaluation_id == EvaluationRow.id)
        .where(*conditions)
        .order_by(TrialRow.number, RunRow.rung, RunRow.repeat, RunRow.task)
    )
    return [
        _to_trial(row, [_to_run(run, evaluation) for _, run, evaluation in of_one if run])
        for row, of_one in groupby(triples, key=lambda triple: triple[0])
    ]


def _to_run(row: RunRow, evaluation: EvaluationRow | None) -> RunRecord:
    return RunRecord(
        rung=row.rung,
        repeat=row.repeat,
        task=row.task,
        protocol_digest=row.protocol_digest,
        evaluation=None if evaluation is None else _to_evaluation(evaluation),
        reused=row.reused,
    )


def _to_trial(row: TrialRow, runs: Sequence[RunRecord]) -> TrialRecord:
    latest = (run.evaluation for run in runs if run.protocol_digest == row.protocol_digest)
    return TrialRecord(
        study=row.study,
        number=row.number,
        architecture_digest=row.architecture_digest,
        protocol_digest=row.protocol_digest,
        token=row.token,
        attempt=row.attempt,
        created_at=row.created_at,
        reason=row.reason,
        worker=row.worker,
        evaluation=next(latest, None) if row.evaluation_id is not None else None,
        costs=row.costs or {},
        runs=tuple(runs),
    )


def _to_row(token: str, value: Evaluation) -> EvaluationRow:
    return EvaluationRow(
        architecture_digest=value.architecture_digest,
        protocol_digest=value.protocol_digest,
        token=token,
        status=value.status,
        reason=value.reason,
        message=None if value.message is None else _storable(value.message),
        metrics=finite(value.metrics),
        curve=finite(value.curve),
        timing=finite(value.timing),
        machine=finite(value.machine),
        versions=dict(value.versions),
        seed=value.seed,
        git_commit=value.git_commit,
        weights=None if value.weights is None else dict(value.weights),
        started_at=value.started_at,
        ended_at=value.ended_at,
    )


def _storable(message: str) -> str:
    """A driver's error text may hold what PostgreSQL refuses: NUL, and halves of characters."""
    return message.encode("utf-8", "replace").decode().replace("\0", "")


def _to_evaluation(row: EvaluationRow) -> Evaluation:
    return Evaluation(
        id=row.id,
        architecture_digest=row.architecture_digest,
        protocol_digest=row.protocol_digest,
        status=cast(Status, row.status),
        reason=cast(Reason | None, row.reason),
        message=row.message,
        metrics=row.metrics,
        curve=tuple(row.curve),
        timing=row.timing,
        machine=row.machine,
        versions=row.versions,
        seed=row.seed,
        git_commit=row.git_commit,
        weights=row.weights,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )
