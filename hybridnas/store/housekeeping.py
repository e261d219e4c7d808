"""Studies renamed and deleted, whole or not at all; never one that is being searched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import Session

from ..errors import StoreError
from . import liveness, optuna_studies
from .models import (
    Base,
    CalibrationRow,
    EvaluationRow,
    FrontRow,
    RunRow,
    SessionRow,
    StudyRow,
    TrialRow,
)
from .records import StudyContents
from .studies import no_study

_OWNED = (SessionRow, FrontRow, CalibrationRow)  # nothing refers to their rows
_CHUNK = 500


def rename_all(session: Session, names: Mapping[str, str]) -> None:
    for name, new in names.items():
        rename(session, name, new)


def check_names(session: Session, names: Mapping[str, str]) -> None:
    for name, new in names.items():
        _existing(session, name)
        _check_rest(session, name)
        _check_free(session, new)


def rename(session: Session, name: str, new: str) -> None:
    row = _at_rest(session, name)
    _check_free(session, new)
    config = {**row.config, "name": new}
    session.add(StudyRow(name=new, config=config, created_at=row.created_at))
    session.flush()
    # A run refers to its trial by the study's name, too: it cannot be changed in both at once.
    runs = Base.metadata.tables[RunRow.__tablename__]
    found = session.execute(select(runs).where(runs.c.study == name)).mappings()
    kept = [{**run, "study": new} for run in found]
    session.execute(delete(runs).where(runs.c.study == name))
    for table in (TrialRow, *_OWNED):
        session.execute(update(table).where(table.study == name).values(study=new))
    if kept:
        session.execute(insert(runs), kept)
    session.delete(row)
    optuna_studies.rename_study(session, name, new)


def contents(session: Session, names: Collection[str]) -> StudyContents:
    for name in names:
        _existing(session, name)
    trials = session.scalar(select(func.count()).where(TrialRow.study.in_(names))) or 0
    shared = select(func.count(RunRow.evaluation_id.distinct())).where(
        RunRow.study.in_(names), RunRow.evaluation_id.in_(_elsewhere(names))
    )
    own = _only_theirs(session, names)
    return StudyContents(
        trials=trials,
        evaluations=len(own),
        shared_evaluations=session.scalar(shared) or 0,
        weights=tuple(row.weights for row in own if row.weights is not None),
    )


def remove_all(session: Session, names: Collection[str], keep_evaluations: bool) -> StudyContents:
    rows = [_at_rest(session, name) for name in names]
    found = contents(session, names)
    ids = [evaluation.id for evaluation in _only_theirs(session, names)]
    for table in (RunRow, TrialRow, *_OWNED):
        session.execute(delete(table).where(table.study.in_(names)))
    for start in range(0, len(ids), _CHUNK):
        some = EvaluationRow.id.in_(ids[start : start + _CHUNK])
        if keep_evaluations:
            session.execute(update(EvaluationRow).where(some).values(weights=None))
        else:
            session.execute(delete(EvaluationRow).where(some))
    for row in rows:
        session.delete(row)
        optuna_studies.delete_study(session, row.name)
    return found


def remove_begun(session: Session, study: str) -> None:
    """A worker that wrote just now keeps its evaluation, which later searches look up."""
    has_result = RunRow.study == study, RunRow.evaluation_id.is_not(None)
    if session.scalar(select(RunRow.number).where(*has_result).limit(1)) is not None:
        return
    for table in (RunRow, TrialRow):
        session.execute(delete(table).where(table.study == study))
    # The hours that they took are none of the new one's budget, which they may have spent.
    end = func.coalesce(SessionRow.ended_at, datetime.now(UTC))
    own = update(SessionRow).where(SessionRow.study == study)
    session.execute(own.values(started_at=end, last_seen_at=end))
    optuna_studies.delete_study(session, study)


def _existing(session: Session, name: str) -> StudyRow:
    row = session.get(StudyRow, name)
    if row is None:
        raise no_study(session, name)
    return row


def _at_rest(session: Session, name: str) -> StudyRow:
    """The study, locked so that no search of it begins meanwhile."""
    row = _existing(session, name)
    session.scalar(select(StudyRow).where(StudyRow.name == name).with_for_update())
    _check_rest(session, name)
    return row


def _check_free(session: Session, name: str) -> None:
    if session.get(StudyRow, name) is not None or optuna_studies.is_there(session, name):
        raise StoreError(f"there is a study {name!r} already")


def _check_rest(session: Session, name: str) -> None:
    going = select(SessionRow).where(SessionRow.study == name, SessionRow.ended_at.is_(None))
    for run in session.scalars(going):
        if liveness.is_alive(run, datetime.now(UTC)):
            raise StoreError(
                f"study {name!r} is being searched by process {run.pid} on {run.host}; "
                f"stop it first"
            )


def _only_theirs(session: Session, names: Collection[str]) -> Sequence[EvaluationRow]:
    """The evaluations that no other study has; those of attempts that were given up among them, to
    which no run refers, of what these studies alone have trained."""
    here = select(RunRow.evaluation_id).where(RunRow.study.in_(names))
    linked = EvaluationRow.id.in_(here), EvaluationRow.id.not_in(_elsewhere(names))
    anyone = select(RunRow.evaluation_id).where(RunRow.evaluation_id.is_not(None))
    trained = tuple_(EvaluationRow.architecture_digest, EvaluationRow.protocol_digest)
    given_up = (
        EvaluationRow.id.not_in(anyone),
        trained.in_(_trained(RunRow.study.in_(names))),
        trained.not_in(_trained(RunRow.study.not_in(names))),
    )
    return session.scalars(select(EvaluationRow).where(or_(and_(*linked), and_(*given_up)))).all()


def _elsewhere(names: Collection[str]) -> Select[int | None]:
    """The evaluations that other studies have."""
    return select(RunRow.evaluation_id).where(
        RunRow.study.not_in(names), RunRow.evaluation_id.is_not(None)
    )


def _trained(where: ColumnElement[bool]) -> Select[str, str]:
    """Architecture and protocol of runs."""
    return (
        select(TrialRow.architecture_digest, RunRow.protocol_digest)
        .join(TrialRow, and_(TrialRow.study == RunRow.study, TrialRow.number == RunRow.number))
        .where(where)
    )
