"""Leases, evaluations and trials, on each kind of database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone
from math import inf, nan

import pytest
import sqlalchemy
from store_databases import ARCHITECTURE, EVALUATION, FAILED, PROTOCOL, START, STUDY, lease

from hybridnas.errors import StoreError
from hybridnas.store import Store

pytest_plugins = ["store_databases"]


def test_an_evaluation_comes_back_as_it_was(store: Store) -> None:
    token = lease(store)
    running = store.trial(STUDY, 0)
    assert running is not None
    assert (running.token, running.attempt, running.evaluation) == (token, 1, None)
    number = store.record(token, EVALUATION)
    assert number is not None
    want = replace(EVALUATION, id=number)
    assert store.evaluation(number) == want
    (run,) = running.runs
    runs = (replace(run, evaluation=want),)
    assert store.trial(STUDY, 0) == replace(running, evaluation=want, runs=runs)
    assert store.evaluation(number + 1) is None
    assert store.trial(STUDY, 1) is None


def test_recording_twice_writes_once(store: Store) -> None:
    token = lease(store)
    first = store.record(token, EVALUATION)
    assert store.record(token, FAILED) == first
    lease(store)
    assert store.record(token, FAILED) == first
    assert store.info().rows["nas_evaluation"] == 1


def test_an_orphan_writes_nothing(store: Store) -> None:
    orphan = lease(store)
    current = lease(store)
    assert orphan != current
    assert store.record(orphan, EVALUATION) is None
    assert store.record("no such token", EVALUATION) is None
    assert store.info().rows["nas_evaluation"] == 0
    trial = store.trial(STUDY, 0)
    assert trial is not None
    assert (trial.attempt, trial.evaluation) == (2, None)
    assert store.record(current, EVALUATION) is not None


def test_a_new_lease_leaves_the_failed_attempt_behind(store: Store) -> None:
    failed = store.record(lease(store), FAILED)
    store.mark(STUDY, [0], "waiting")
    lease(store)
    trial = store.trial(STUDY, 0)
    assert trial is not None
    assert (trial.evaluation, trial.reason, trial.attempt) == (None, None, 2)
    assert failed is not None
    assert store.evaluation(failed) == replace(FAILED, id=failed)


def test_attempts_count_anew_on_the_next_rung(store: Store) -> None:
    store.put_protocol("next rung", "{}")
    lease(store)
    lease(store)
    store.lease(STUDY, 0, ARCHITECTURE, "next rung")
    trial = store.trial(STUDY, 0)
    assert trial is not None
    assert (trial.attempt, trial.protocol_digest) == (1, "next rung")


def test_a_lease_needs_what_it_points_at(store: Store) -> None:
    for study, architecture, protocol in (
        ("unknown", ARCHITECTURE, PROTOCOL),
        (STUDY, "unknown", PROTOCOL),
        (STUDY, ARCHITECTURE, "unknown"),
    ):
        with pytest.raises(StoreError, match="must have been put before"):
            store.lease(study, 0, architecture, protocol)


def test_an_evaluation_of_something_else_is_refused(store: Store) -> None:
    token = lease(store)
    with pytest.raises(StoreError, match=r"trial 0 of 'shapes' is leased for .* got .*other"):
        store.record(token, replace(EVALUATION, protocol_digest="other"))


def test_numbers_that_json_cannot_hold_become_none(store: Store) -> None:
    wild = replace(
        FAILED,
        message="NUL \0 and half a character \ud800",
        metrics={"loss": nan},
        curve=[{"loss": 1.0}, {"loss": inf}],
        timing={"eta_s": -inf},
        machine={"load": [nan, 0.5]},
    )
    number = store.record(lease(store), wild)
    assert number is not None
    assert store.evaluation(number) == replace(
        wild,
        id=number,
        message="NUL  and half a character ?",
        metrics={"loss": None},
        curve=({"loss": 1.0}, {"loss": None}),
        timing={"eta_s": None},
        machine={"load": [None, 0.5]},
    )


def test_moments_come_back_in_utc(store: Store) -> None:
    there = START.astimezone(timezone(timedelta(hours=9)))
    number = store.record(lease(store), replace(EVALUATION, started_at=there))
    found = store.evaluation(number or 0)
    assert found is not None
    assert (found.started_at, found.started_at.utcoffset()) == (START, timedelta(0))
    with pytest.raises(StoreError, match="has no time zone"):
        store.record(lease(store), replace(EVALUATION, started_at=START.replace(tzinfo=None)))


def test_the_latest_good_evaluation_is_found_and_reused(store: Store) -> None:
    assert store.finished(ARCHITECTURE, PROTOCOL) is None
    store.record(lease(store), EVALUATION)
    latest = store.record(lease(store, 1), replace(EVALUATION, seed=1))
    store.record(lease(store, 2), FAILED)
    found = store.finished(ARCHITECTURE, PROTOCOL)
    assert found == replace(EVALUATION, seed=1, id=latest)
    assert latest is not None
    store.put_study("another", {})
    store.reuse("another", 5, ARCHITECTURE, PROTOCOL, latest)
    (trial,) = store.trials("another")
    assert (trial.number, trial.attempt, trial.evaluation) == (5, 0, found)


def test_reuse_voids_the_lease(store: Store) -> None:
    earlier = store.record(lease(store), EVALUATION)
    assert earlier is not None
    token = lease(store, 1)
    store.reuse(STUDY, 1, ARCHITECTURE, PROTOCOL, earlier)
    assert store.record(token, FAILED) is None
    for architecture, number in (("other", earlier), (ARCHITECTURE, earlier + 1)):
        with pytest.raises(StoreError, match=f"evaluation {number} is not one of"):
            store.reuse(STUDY, 1, architecture, PROTOCOL, number)


def test_who_takes_up_a_lease_is_known_as_long_as_it_holds(store: Store) -> None:
    def worker() -> str | None:
        record = store.trial(STUDY, 0)
        assert record is not None
        return record.worker

    orphan = lease(store)
    assert worker() is None
    assert store.take_up(orphan, "node7, GPU 3")
    assert worker() == "node7, GPU 3"
    current = lease(store)
    assert worker() is None, "nobody has taken up the new one"
    assert not store.take_up(orphan, "node7, GPU 3")
    assert not store.take_up("no such token", "node7, GPU 3")
    assert worker() is None
    assert store.take_up(current, "node8")
    assert store.take_up(current, "node9"), "Ray began it again elsewhere"
    assert worker() == "node9"
    known = store.record(current, EVALUATION)
    assert known is not None
    assert not store.take_up(current, "node8")
    assert worker() == "node9"
    store.reuse(STUDY, 0, ARCHITECTURE, PROTOCOL, known)
    assert worker() is None


def test_weights_can_be_dropped_and_set(store: Store) -> None:
    number = store.record(lease(store), EVALUATION)
    assert number is not None
    for weights in (None, {"path": "w", "sha256": "11"}):
        store.set_weights(number, weights)
        assert store.evaluation(number) == replace(EVALUATION, id=number, weights=weights)
    with pytest.raises(StoreError, match="no evaluation 99"):
        store.set_weights(99, None)


def test_a_trial_is_marked(store: Store) -> None:
    lease(store)
    store.mark(STUDY, [0], "waiting")
    assert [trial.reason for trial in store.trials(STUDY)] == ["waiting"]
    with pytest.raises(StoreError, match="no trial 9 of study 'shapes'"):
        store.mark(STUDY, [9], "waiting")


def test_whether_a_study_has_a_trial(store: Store) -> None:
    assert not store.has_trials(STUDY)
    assert not store.has_trials("no such study")
    lease(store)
    assert store.has_trials(STUDY)
    store.put_study("second", {})
    assert not store.has_trials("second")


def test_trials_are_read_by_one_query(store: Store) -> None:
    for number in (2, 0, 1):
        store.record(lease(store, number), EVALUATION)
    lease(store, 3)
    selects = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT"):
            selects.append(statement)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", count)
    try:
        trials = store.trials(STUDY)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", count)
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    assert [trial.evaluation is None for trial in trials] == [False, False, False, True]
    assert len([text for text in selects if "nas_" in text]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "done"}, "unknown status 'done'; known: ok, failed"),
        ({"reason": "diverged"}, "ok has no reason, got 'diverged'"),
        ({"status": "failed"}, "has a reason of broken, diverged, .*; got None"),
        ({"status": "failed", "reason": "boredom"}, "got 'boredom'"),
    ],
)
def test_an_evaluation_that_contradicts_itself(change: dict[str, str], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        replace(EVALUATION, **change)  # type: ignore[arg-type]
