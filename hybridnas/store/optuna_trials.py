"""Trials in Optuna's own tables, written in our transactions: with our rows, or not at all.

Optuna's storage writes a trial parameter by parameter, with three statements each, and knows
nothing of our tables. What is written here is what it would have written (the tests compare), and
`optuna_storage` opens only tables of the version whose models these are.

Each function is part of one transaction: `Store` says what it means to callers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb.models import (
    StudyModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import func, select, update
from sqlalchemy import insert as plain_insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from ..errors import StoreError
from . import assignments, trials
from .models import TrialRow
from .records import Assignment, BegunTrial
from .upsert import insert_of


def begin(
    session: Session, study: str, template: FrozenTrial, wanted: Assignment, token: str
) -> BegunTrial:
    """token: of this call, for its trial's lease."""
    begun = session.scalar(select(TrialRow).where(TrialRow.token == token))
    if begun is not None:  # committed by an earlier try whose connection broke just then
        return _as_begun(session, begun)
    trial_id, number = create(session, study, template)
    lease = assignments.lease_or_reuse(session, study, number, wanted, token)
    return BegunTrial(number=number, trial_id=trial_id, lease=lease)


def _as_begun(session: Session, row: TrialRow) -> BegunTrial:
    trial_id = session.scalar(
        select(TrialModel.trial_id)
        .join(StudyModel, StudyModel.study_id == TrialModel.study_id)
        .where(StudyModel.study_name == row.study, TrialModel.number == row.number)
    )
    assert trial_id is not None, "both tables were written in one transaction"
    known = None if row.evaluation_id is None else trials.evaluation(session, row.evaluation_id)
    return BegunTrial(number=row.number, trial_id=trial_id, lease=known or row.token)


def resume(session: Session, trial_id: int) -> None:
    set_unfinished(session, trial_id, TrialState.RUNNING)


def put_back(session: Session, study: str, number: int, trial_id: int) -> None:
    set_unfinished(session, trial_id, TrialState.WAITING)
    if session.get(TrialRow, (study, number)) is not None:  # else it was never leased
        trials.mark(session, study, [number], "waiting")


def create(session: Session, study: str, template: FrozenTrial) -> tuple[int, int]:
    """A trial with the template's state, parameters and attributes; its id and its number.

    Raises StoreError where Optuna has no study of that name.
    """
    # Numbers are counted, so one counts at a time.
    study_id = session.scalar(
        select(StudyModel.study_id).where(StudyModel.study_name == study).with_for_update()
    )
    if study_id is None:
        raise StoreError(f"Optuna has no study {study!r} in this database")
    number = session.scalar(
        select(func.count()).select_from(TrialModel).where(TrialModel.study_id == study_id)
    )
    assert number is not None
    started = template.datetime_start and template.datetime_start.astimezone(UTC)
    trial = {
        "study_id": study_id,
        "number": number,
        "state": template.state,
        "_datetime_start_utc": started and started.replace(tzinfo=None),
    }
    trial_id = session.execute(
        plain_insert(TrialModel).values(trial).returning(TrialModel.trial_id)
    ).scalar_one()
    params = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": template.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(template.distributions[name]),
        }
        for name, value in template.params.items()
    ]
    if params:
        session.execute(plain_insert(TrialParamModel), params)
    for table, attributes in (
        (TrialUserAttributeModel, template.user_attrs),
        (TrialSystemAttributeModel, template.system_attrs),
    ):
        if attributes:
            session.execute(plain_insert(table), _attribute_rows(trial_id, attributes))
    return trial_id, number


def note(session: Session, trial_id: int, attributes: Mapping[str, Any]) -> None:
    _set_attributes(session, TrialUserAttributeModel, trial_id, attributes)


def _set_attributes(
    session: Session, table: Any, trial_id: int, attributes: Mapping[str, Any]
) -> None:
    """New ones, or in the place of others. table: a model of Optuna's."""
    if attributes:
        statement = _upsert_attributes(session.get_bind().dialect.name, table)
        session.execute(statement, _attribute_rows(trial_id, attributes))


@cache
def _upsert_attributes(dialect: str, table: Any) -> postgresql.Insert | sqlite.Insert:
    """Built once: that takes longer than to execute it."""
    row = insert_of(dialect, table)
    return row.on_conflict_do_update(
        index_elements=[table.trial_id, table.key],
        set_={"value_json": row.excluded.value_json},
    )


def _attribute_rows(trial_id: int, attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]


def finish(
    session: Session,
    trial_id: int,
    state: TrialState,
    values: Sequence[float] | None,
    attributes: Mapping[str, Any],
    system_attributes: Mapping[str, Any],
) -> bool:
    """Whether the trial ended now; one that has ended before stays as it is."""
    if _locked_state(session, trial_id).is_finished():
        return False
    _set_attributes(session, TrialUserAttributeModel, trial_id, attributes)
    _set_attributes(session, TrialSystemAttributeModel, trial_id, system_attributes)
    if values is not None:
        rows = []
        for objective, value in enumerate(values):
            stored, kind = TrialValueModel.value_to_stored_repr(value)
            rows.append(
                {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
            )
        session.execute(plain_insert(TrialValueModel), rows)
    _set_state(session, trial_id, state, _datetime_complete_utc=_now())
    return True


def set_unfinished(session: Session, trial_id: int, state: TrialState) -> None:
    """WAITING or RUNNING. Raises StoreError for a trial that has ended."""
    before = _locked_state(session, trial_id)
    if before.is_finished():
        raise StoreError(f"Optuna's trial {trial_id} has ended as {before.name}")
    began = {"_datetime_start_utc": _now()} if state == TrialState.RUNNING else {}
    _set_state(session, trial_id, state, **began)


def _set_state(session: Session, trial_id: int, state: TrialState, **columns: datetime) -> None:
    session.execute(
        update(TrialModel)
        .where(TrialModel.trial_id == trial_id)
        .values(state=state, **columns)
        .execution_options(synchronize_session=False)
    )


def _locked_state(session: Session, trial_id: int) -> TrialState:
    state = session.scalar(
        select(TrialModel.state).where(TrialModel.trial_id == trial_id).with_for_update()
    )
    if state is None:
        raise StoreError(f"no trial with id {trial_id} in Optuna's tables")
    return state


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
