"""Optuna's trials as the store writes them: what Optuna's own storage writes and reads."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from store_databases import ARCHITECTURE, EVALUATION, PROTOCOL, STUDY

from hybridnas.errors import StoreError
from hybridnas.store import Assignment, BegunTrial, Evaluation, Place, Store

pytest_plugins = ["store_databases"]

WANTED = Assignment(
    architecture_digest=ARCHITECTURE, architecture_json="{}", protocol_digest=PROTOCOL
)
# Values that compare equal in Python are different choices.
DISTRIBUTIONS = {
    "width": CategoricalDistribution((8, 16)),
    "mixer": CategoricalDistribution(("ssm", "attention", None)),
    "gate": CategoricalDistribution((True, False)),
    "scale": CategoricalDistribution((1, 0.5, 0)),
}


@pytest.fixture
def optuna_store(store: Store) -> Store:
    """A store that has Optuna's study as well."""
    optuna.create_study(
        storage=store.optuna_storage(), study_name=STUDY, directions=["maximize", "minimize"]
    )
    return store


def template(state: TrialState = TrialState.RUNNING, **changes: Any) -> FrozenTrial:
    given: dict[str, Any] = {
        "params": {"width": 16, "mixer": None, "gate": False, "scale": 0},
        "distributions": DISTRIBUTIONS,
        "user_attrs": {"arch": "G1", "macs": 1.5e9, "ünï": {"a": [1, None]}},
        "system_attrs": {"constraints": [-1.0, 0.0]},
    }
    return create_trial(state=state, **{**given, **changes})


def trials(store: Store) -> list[FrozenTrial]:
    return optuna.load_study(study_name=STUDY, storage=store.optuna_storage()).trials


def seen(trial: FrozenTrial) -> dict[str, Any]:
    """All of a trial but what differs between two of them."""
    return {k: v for k, v in vars(trial).items() if k not in ("_trial_id", "_number", "number")}


def begun(store: Store, **changes: Any) -> BegunTrial:
    return store.begin_trial(STUDY, template(**changes), WANTED)


def test_it_is_what_optuna_writes(optuna_store: Store) -> None:
    storage = optuna_store.optuna_storage()
    given = template()
    study_id = storage.get_study_id_from_name(STUDY)
    theirs = storage.create_new_trial(study_id, given)
    ours = optuna_store.begin_trial(STUDY, given, WANTED)
    first, second = trials(optuna_store)
    assert (ours.number, ours.trial_id) == (second.number, second._trial_id) == (1, theirs + 1)
    assert seen(second) == seen(first)
    assert list(second.params.items()) == list(first.params.items())
    assert [type(v) for v in second.params.values()] == [int, type(None), bool, int]
    assert storage.create_new_trial(study_id) == theirs + 2
    assert [t.number for t in trials(optuna_store)] == [0, 1, 2], "Optuna counts on from ours"


@pytest.mark.parametrize(
    ("state", "values"),
    [
        (TrialState.COMPLETE, [0.5, inf]),
        (TrialState.COMPLETE, [-inf, 2.0]),
        (TrialState.FAIL, None),
        (TrialState.PRUNED, None),
    ],
)
def test_an_end_is_what_optuna_writes(
    state: TrialState, values: list[float] | None, optuna_store: Store
) -> None:
    storage = optuna_store.optuna_storage()
    found = {"top1": 0.5, "arch": "another", "message": "no room\n"}
    theirs, ours = begun(optuna_store).trial_id, begun(optuna_store).trial_id
    optuna_store.note_trial(ours, {"top1": 0.1, "early": True})
    for name, value in {"top1": 0.1, "early": True, **found}.items():
        storage.set_trial_user_attr(theirs, name, value)
    storage.set_trial_state_values(theirs, state, values)
    assert optuna_store.end_trial(ours, state, values, found)
    first, second = trials(optuna_store)
    assert first.datetime_complete is not None
    assert second.datetime_complete is not None
    assert abs((second.datetime_complete - first.datetime_complete).total_seconds()) < 5
    first.datetime_complete = second.datetime_complete
    first.datetime_start = second.datetime_start
    assert seen(second) == seen(first)
    assert not optuna_store.end_trial(ours, TrialState.FAIL, None, {"top1": 0.1})
    assert trials(optuna_store)[1] == second, "what has ended stays as it is"


def test_a_trial_waits_and_goes_on(optuna_store: Store) -> None:
    first = begun(optuna_store)
    assert isinstance(first.lease, str)
    optuna_store.put_back_trial(STUDY, 0, first.trial_id)
    record = optuna_store.trial(STUDY, 0)
    assert record is not None
    assert (trials(optuna_store)[0].state, record.reason) == (TrialState.WAITING, "waiting")
    optuna_store.resume_trial(first.trial_id)
    assert trials(optuna_store)[0].state == TrialState.RUNNING
    lease = optuna_store.lease_or_reuse(STUDY, 0, WANTED)
    assert isinstance(lease, str)
    record = optuna_store.trial(STUDY, 0)
    assert record is not None
    assert (record.reason, record.attempt) == (None, 2)
    assert optuna_store.record(first.lease, EVALUATION) is None, "the first lease is void"
    optuna_store.record(lease, EVALUATION)
    optuna_store.end_trial(first.trial_id, TrialState.FAIL, None, {})
    with pytest.raises(StoreError, match="has ended as FAIL"):
        optuna_store.resume_trial(first.trial_id)
    with pytest.raises(StoreError, match="has ended as FAIL"):
        optuna_store.put_back_trial(STUDY, 0, first.trial_id)


def test_what_is_known_comes_with_the_trial(optuna_store: Store) -> None:
    first = begun(optuna_store)
    assert isinstance(first.lease, str)
    written = optuna_store.record(first.lease, EVALUATION)
    second = begun(optuna_store)
    assert second.lease == replace(EVALUATION, id=written)
    record = optuna_store.trial(STUDY, second.number)
    assert record is not None
    assert (record.attempt, record.evaluation) == (0, second.lease)
    optuna_store.put_protocol("next rung", "{}")
    higher = replace(WANTED, protocol_digest="next rung", place=Place(1))
    lease = optuna_store.lease_or_reuse(STUDY, second.number, higher)
    assert isinstance(lease, str)
    found = optuna_store.record(lease, replace(EVALUATION, protocol_digest="next rung"))
    begun(optuna_store)
    again = optuna_store.lease_or_reuse(STUDY, 2, higher)
    assert isinstance(again, Evaluation)
    assert again.id == found
    record = optuna_store.trial(STUDY, 2)
    assert record is not None
    assert [(run.rung, run.reused) for run in record.runs] == [(0, True), (1, True)]


def test_all_or_nothing(optuna_store: Store) -> None:
    unknown = replace(WANTED, protocol_digest="unknown")
    with pytest.raises(StoreError, match="must have been put before"):
        optuna_store.begin_trial(STUDY, template(), unknown)
    assert (trials(optuna_store), optuna_store.trials(STUDY)) == ([], [])
    with pytest.raises(StoreError, match="Optuna has no study 'other'"):
        optuna_store.begin_trial("other", template(), WANTED)
    with pytest.raises(StoreError, match="no trial with id 99"):
        optuna_store.end_trial(99, TrialState.FAIL, None, {})
