"""Optuna's half of a study in our transaction: copied from another database, renamed, deleted."""

from __future__ import annotations

from typing import Any

from optuna.storages._rdb.models import (
    StudyDirectionModel,
    StudyModel,
    StudySystemAttributeModel,
    StudyUserAttributeModel,
    TrialHeartbeatModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from sqlalchemy import Table, delete, insert, inspect, select, update
from sqlalchemy.orm import Session

_OF_STUDY = (StudyDirectionModel, StudyUserAttributeModel, StudySystemAttributeModel)
_OF_TRIAL = (
    TrialParamModel,
    TrialValueModel,
    TrialUserAttributeModel,
    TrialSystemAttributeModel,
    TrialIntermediateValueModel,
)
_CHUNK = 1000


def has_study(session: Session, name: str) -> bool:
    found = select(StudyModel.study_id).where(StudyModel.study_name == name)
    return session.scalar(found) is not None


def is_there(session: Session, name: str) -> bool:
    """As `has_study`, also in a database that Optuna has no tables in."""
    tables = inspect(session.connection())
    return tables.has_table(StudyModel.__tablename__) and has_study(session, name)


def rename_study(session: Session, name: str, new: str) -> None:
    """Nothing where there is none."""
    named = update(StudyModel).where(StudyModel.study_name == name)
    session.execute(named.values(study_name=new))


def delete_study(session: Session, name: str) -> None:
    """With its trials; nothing where there is none."""
    study = select(StudyModel.study_id).where(StudyModel.study_name == name).scalar_subquery()
    trials = select(TrialModel.trial_id).where(TrialModel.study_id == study)
    for model in (*_OF_TRIAL, TrialHeartbeatModel):
        session.execute(delete(model).where(model.trial_id.in_(trials)))
    for model in (TrialModel, *_OF_STUDY):
        session.execute(delete(model).where(model.study_id == study))
    session.execute(delete(StudyModel).where(StudyModel.study_name == name))


def copy_study(session: Session, other: Session, name: str, new: str) -> None:
    """A study with its trials, under the numbers they have; nothing where there is none."""
    there = other.scalar(select(StudyModel.study_id).where(StudyModel.study_name == name))
    if there is None:
        return
    session.execute(insert(StudyModel).values(study_name=new))
    here = session.scalar(select(StudyModel.study_id).where(StudyModel.study_name == new))
    for model in _OF_STUDY:
        _copy(session, other, model.__table__, "study_id", {there: here})
    # In the order of their numbers, which Optuna counts by ids.
    _copy(session, other, TrialModel.__table__, "study_id", {there: here})
    ids = {t.number: t.trial_id for t in _trials(session, here)}
    trial_ids = {t.trial_id: ids[t.number] for t in _trials(other, there)}
    for model in _OF_TRIAL:
        _copy(session, other, model.__table__, "trial_id", trial_ids)


def _trials(session: Session, study_id: Any) -> Any:
    return session.execute(
        select(TrialModel.trial_id, TrialModel.number).where(TrialModel.study_id == study_id)
    )


def _copy(session: Session, other: Session, table: Table, owner: str, ids: dict[int, Any]) -> None:
    """The rows of those owners, numbered anew. ids: of an owner there, and here."""
    key = next(iter(table.primary_key.columns)).name
    wanted = sorted(ids)
    for start in range(0, len(wanted), _CHUNK):
        some = wanted[start : start + _CHUNK]
        found = select(table).where(table.c[owner].in_(some)).order_by(table.c[key])
        for part in other.execute(found).mappings().partitions(_CHUNK):
            rows = [{**row, owner: ids[row[owner]]} for row in part]
            for row in rows:
                del row[key]
            session.execute(insert(table), rows)
