"""Studies, their driver's sessions, their fronts; architectures and protocols by digest.

Each function is the work of one transaction: `Store` says what it means to callers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..errors import StoreError
from . import liveness
from .models import ArchitectureRow, FrontRow, ProtocolRow, SessionRow, StudyRow, TrialRow
from .records import FrontRecord, SessionRecord
from .upsert import insert

_Text: TypeAlias = type[ArchitectureRow] | type[ProtocolRow]


def put_study(session: Session, name: str, config: Mapping[str, object]) -> None:
    values = {"name": name, "config": dict(config), "created_at": datetime.now(UTC)}
    row = insert(session, StudyRow).values(values)
    session.execute(
        row.on_conflict_do_update(
            index_elements=[StudyRow.name], set_={"config": row.excluded.config}
        )
    )


def study_config(session: Session, name: str) -> dict[str, object] | None:
    row = session.get(StudyRow, name)
    return None if row is None else row.config


def study_names(session: Session) -> list[str]:
    return list(session.scalars(select(StudyRow.name).order_by(StudyRow.created_at, StudyRow.name)))


def has_trials(session: Session, study: str) -> bool:
    return (
        session.scalar(select(TrialRow.number).where(TrialRow.study == study).limit(1)) is not None
    )


def no_study(session: Session, name: str) -> StoreError:
    known = ", ".join(study_names(session)) or "none"
    return StoreError(f"no study {name!r} in the database; it holds: {known}")


def put_text(session: Session, table: _Text, digest: str, json: str) -> None:
    values = {"digest": digest, "json": json, "created_at": datetime.now(UTC)}
    session.execute(insert(session, table).values(values).on_conflict_do_nothing())


def text(session: Session, table: _Text, digest: str) -> str | None:
    return session.scalar(select(table.json).where(table.digest == digest))


def architectures(session: Session, study: str) -> dict[str, str]:
    of_study = select(TrialRow.architecture_digest).where(TrialRow.study == study)
    known = select(ArchitectureRow.digest, ArchitectureRow.json)
    found = session.execute(known.where(ArchitectureRow.digest.in_(of_study)))
    return dict(found.all())


def begin_session(session: Session, study: str) -> int:
    """Locks the study's row, so that of two drivers one sees the other's session."""
    locked = select(StudyRow).where(StudyRow.name == study).with_for_update(key_share=True)
    if session.scalar(locked) is None:
        raise no_study(session, study)
    now = datetime.now(UTC)
    open_sessions = select(SessionRow).where(
        SessionRow.study == study, SessionRow.ended_at.is_(None)
    )
    for other in session.scalars(open_sessions):
        if liveness.is_alive(other, now):
            silent_s = (now - other.last_seen_at).total_seconds()
            raise StoreError(
                f"study {study!r} is being searched by process {other.pid} on {other.host} "
                f"(last seen {silent_s:.0f} s ago); stop it first"
            )
        other.ended_at, other.end_reason = other.last_seen_at, "lost"
    row = SessionRow(
        study=study, host=liveness.host(), pid=os.getpid(), started_at=now, last_seen_at=now
    )
    session.add(row)
    session.flush()
    return row.id


def check_session(session: Session, session_id: int) -> None:
    """Raises StoreError where another run took this one for dead.

    Holds the row, so that nobody does so before this transaction ends.
    """
    found = select(SessionRow.ended_at).where(SessionRow.id == session_id)
    if session.scalar(found.with_for_update(read=True)) is not None:
        raise StoreError(
            "another run took this one for dead (it gave no sign of life for a while) and goes on "
            "with the study: this one stops"
        )


def heartbeat(session: Session, session_id: int, proposals: int, redrawn: int) -> None:
    row = _session(session, session_id)
    check_session(session, session_id)
    row.last_seen_at = datetime.now(UTC)
    row.proposals, row.redrawn = proposals, redrawn


def end_session(session: Session, session_id: int, reason: str) -> None:
    row = _session(session, session_id)
    if row.ended_at is None:  # else another run took it for dead
        row.last_seen_at = row.ended_at = datetime.now(UTC)
        row.end_reason = reason


def _session(session: Session, session_id: int) -> SessionRow:
    row = session.get(SessionRow, session_id)
    if row is None:
        raise StoreError(f"no session {session_id} in the database")
    return row


def sessions(session: Session, study: str) -> list[SessionRecord]:
    rows = session.scalars(
        select(SessionRow).where(SessionRow.study == study).order_by(SessionRow.id)
    )
    return [
        SessionRecord(
            id=row.id,
            study=row.study,
            host=row.host,
            pid=row.pid,
            started_at=row.started_at,
            last_seen_at=row.last_seen_at,
            ended_at=row.ended_at,
            end_reason=row.end_reason,
            proposals=row.proposals,
            redrawn=row.redrawn,
        )
        for row in rows
    ]


def put_front(
    session: Session,
    study: str,
    members: Sequence[Mapping[str, object]],
    cost: Mapping[str, object],
) -> int:
    row = FrontRow(
        study=study,
        created_at=datetime.now(UTC),
        members=[dict(member) for member in members],
        cost=dict(cost),
    )
    session.add(row)
    session.flush()
    return row.id


def fronts(session: Session, study: str) -> list[FrontRecord]:
    rows = session.scalars(select(FrontRow).where(FrontRow.study == study).order_by(FrontRow.id))
    return [
        FrontRecord(
            id=row.id,
            study=row.study,
            created_at=row.created_at,
            members=row.members,
            cost=row.cost,
        )
        for row in rows
    ]
