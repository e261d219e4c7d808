"""Takes the studies and evaluations of another database in, whole or not at all.

An evaluation is known by the token it was written under. A study is known by its name; it is the
same study where what it was asked, when it was made, and all its trials agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Table, insert, inspect, select
from sqlalchemy.orm import Session

from ..errors import StoreError
from . import liveness, optuna_studies
from .models import (
    ArchitectureRow,
    Base,
    EvaluationRow,
    ProtocolRow,
    RunRow,
    SessionRow,
    StudyRow,
    TrialRow,
)
from .records import Merged
from .upsert import insert as upsert

_CHUNK = 1000
Row = dict[str, Any]


def merge(session: Session, other: Session, names: Mapping[str, str]) -> Merged:
    """Into the first session's database, within its transaction.

    names: what a study of the other database is to be called here, where not as there. Raises
    StoreError for a study that runs, or whose name is another one's here, and for unknown names.
    """
    config_of = {row.name: row for row in other.scalars(select(StudyRow).order_by(StudyRow.name))}
    if unknown := sorted(names.keys() - config_of.keys()):
        raise StoreError(
            f"the other database has no study {unknown[0]!r}; it has: "
            f"{', '.join(config_of) or 'none'}"
        )
    here = {name: names.get(name, name) for name in config_of}
    _check_names(here)
    _check_at_rest(other)
    known = [name for name, new in here.items() if _is_known(session, other, name, new)]
    for table in (ArchitectureRow, ProtocolRow):
        for row in _rows(other, table.__table__):
            session.execute(upsert(session, table).values(row).on_conflict_do_nothing())
    evaluations, taken, there = _take_evaluations(session, other)
    for name, new in here.items():
        if name not in known:
            _take_study(session, other, name, new, evaluations)
    return Merged(
        studies=tuple(new for name, new in here.items() if name not in known),
        known_studies=tuple(here[name] for name in known),
        evaluations=taken,
        known_evaluations=there,
    )


def _check_names(here: Mapping[str, str]) -> None:
    given = list(here.values())
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise StoreError(f"two studies would be called {twice[0]!r} here: rename one of them")


def _check_at_rest(other: Session) -> None:
    now = datetime.now(UTC)
    for row in other.scalars(select(SessionRow).where(SessionRow.ended_at.is_(None))):
        if liveness.is_alive(row, now):
            raise StoreError(
                f"study {row.study!r} of the other database is being searched by process "
                f"{row.pid} on {row.host}; stop it first"
            )


def _is_known(session: Session, other: Session, name: str, new: str) -> bool:
    """Whether the study is here already. Raises StoreError where its name is another one's."""
    if session.get(StudyRow, new) is None:
        if not optuna_studies.has_study(session, new):
            return False
    elif _fingerprint(session, new, new) == _fingerprint(other, name, new):
        return True
    raise StoreError(
        f"this database has another study {new!r}, or it has gone on since: nothing was taken; "
        f"take the other one in under another name: --rename {name}=NAME"
    )


def _fingerprint(session: Session, name: str, new: str) -> list[Any]:
    """What tells a study from another of its name, once that is `new`."""
    row = session.get(StudyRow, name)
    assert row is not None
    trials = session.execute(
        select(TrialRow.number, TrialRow.architecture_digest, TrialRow.protocol_digest)
        .where(TrialRow.study == name)
        .order_by(TrialRow.number)
    )
    runs = session.execute(
        select(RunRow.number, RunRow.rung, RunRow.repeat, RunRow.task, EvaluationRow.token)
        .outerjoin(EvaluationRow, RunRow.evaluation_id == EvaluationRow.id)
        .where(RunRow.study == name)
        .order_by(RunRow.number, RunRow.rung, RunRow.repeat, RunRow.task)
    )
    listed = [[tuple(row) for row in rows] for rows in (trials, runs)]
    return [_renamed(row.config, new), row.created_at, *listed]


def _renamed(config: Mapping[str, Any], new: str) -> Row:
    return {**config, "name": new}


def _take_evaluations(session: Session, other: Session) -> tuple[dict[int, int], int, int]:
    """The id here of each evaluation there; how many were taken in, and how many were known."""
    table = Base.metadata.tables[EvaluationRow.__tablename__]
    known = set(session.scalars(select(EvaluationRow.token)))
    token_of: dict[int, str] = {}
    taken = 0
    for row in _rows(other, table):
        token_of[row.pop("id")] = row["token"]
        if row["token"] not in known:
            session.execute(insert(table).values(row))
            taken += 1
    ids = {token: id_ for id_, token in session.execute(select(table.c.id, table.c.token))}
    return {id_: ids[token] for id_, token in token_of.items()}, taken, len(token_of) - taken


def _take_study(
    session: Session, other: Session, name: str, new: str, evaluations: Mapping[int, int]
) -> None:
    row = other.get(StudyRow, name)
    assert row is not None
    session.add(StudyRow(name=new, config=_renamed(row.config, new), created_at=row.created_at))
    session.flush()
    for table in Base.metadata.sorted_tables:
        if "study" not in table.c:
            continue
        for part in _parts(other, table, name):
            copied = [_of_study(table, row, new, evaluations) for row in part]
            session.execute(insert(table), copied)
    if inspect(other.connection()).has_table("studies"):
        optuna_studies.copy_study(session, other, name, new)


def _of_study(table: Table, row: Row, new: str, evaluations: Mapping[int, int]) -> Row:
    """A row of a study as it is to be here."""
    row["study"] = new
    row.pop("id", None)  # numbered anew
    if "token" in row:
        row["token"] = uuid4().hex  # no lease of the other database writes here
    if row.get("evaluation_id") is not None:
        row["evaluation_id"] = evaluations[row["evaluation_id"]]
    if table.name == SessionRow.__tablename__ and row["ended_at"] is None:
        row["ended_at"], row["end_reason"] = row["last_seen_at"], "lost"
    return row


def _parts(other: Session, table: Table, study: str) -> Iterator[list[Row]]:
    found = select(table).where(table.c.study == study)
    for part in other.execute(found).mappings().partitions(_CHUNK):
        yield [dict(row) for row in part]


def _rows(other: Session, table: Any) -> Iterator[Row]:
    for part in other.execute(select(table)).mappings().partitions(_CHUNK):
        yield from (dict(row) for row in part)
