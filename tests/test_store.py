"""What a store promises, on each kind of database."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from math import inf, nan
from multiprocessing import get_context

import optuna
import pytest
import sqlalchemy
from store_databases import execute

from hybridnas.errors import StoreError
from hybridnas.store import Evaluation, Store, engine

pytest_plugins = ["store_databases"]

STUDY, ARCHITECTURE, PROTOCOL = "shapes", "0123456789ab", "fedcba987654"
START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

EVALUATION = Evaluation(
    architecture_digest=ARCHITECTURE,
    protocol_digest=PROTOCOL,
    status="ok",
    seed=2**40,
    started_at=START,
    ended_at=START + timedelta(minutes=5),
    metrics={"top1": 0.75, "loss": 1.5},
    curve=({"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": 1.5}),
    timing={"train_s": 12.5},
    machine={"gpu": "H200", "gpus": 1},
    versions={"torch": "2.11"},
    git_commit="abc",
    weights={"path": "s3://weights/1", "sha256": "00"},
)
FAILED = replace(EVALUATION, status="failed", reason="diverged", message="loss is nan", metrics={})


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        opened.put_study(STUDY, {"budget": {"trials": 20}})
        opened.put_architecture(ARCHITECTURE, "{}")
        opened.put_protocol(PROTOCOL, "{}")
        yield opened


def lease(store: Store, number: int = 0) -> str:
    return store.lease(STUDY, number, ARCHITECTURE, PROTOCOL)


# ---------------------------------------------------------------- studies, architectures


def test_a_study_keeps_its_latest_config(store: Store) -> None:
    store.put_study("another", {})
    store.put_study(STUDY, {"budget": {"trials": 200}, "names": ["ä", None, True]})
    assert store.study_config(STUDY) == {"budget": {"trials": 200}, "names": ["ä", None, True]}
    assert store.study_names() == [STUDY, "another"]
    assert store.study_config("unknown") is None


@pytest.mark.parametrize("number", [nan, inf, -inf])
def test_a_config_that_json_cannot_hold_is_refused(store: Store, number: float) -> None:
    with pytest.raises(StoreError, match="not JSON compliant"):
        store.put_study(STUDY, {"macs": {"max": number}})
    assert store.study_config(STUDY) == {"budget": {"trials": 20}}


def test_architectures_and_protocols_are_kept_once(store: Store) -> None:
    store.put_architecture(ARCHITECTURE, "later")
    store.put_protocol(PROTOCOL, "later")
    assert store.architecture_json(ARCHITECTURE) == store.protocol_json(PROTOCOL) == "{}"
    assert store.architecture_json(PROTOCOL) is None
    assert store.protocol_json(ARCHITECTURE) is None


def test_fronts_come_back_in_order(store: Store) -> None:
    first = store.put_front(STUDY, [{"trial": 3, "values": {"top1": 0.5}}], {"gpu_hours": 1})
    store.put_front(STUDY, [], {})
    fronts = store.fronts(STUDY)
    assert [front.members for front in fronts] == [[{"trial": 3, "values": {"top1": 0.5}}], []]
    assert (fronts[0].id, fronts[0].study, fronts[0].cost) == (first, STUDY, {"gpu_hours": 1})
    assert fronts[0].created_at.utcoffset() == timedelta(0)
    with pytest.raises(StoreError, match="must have been put before"):
        store.put_front("unknown", [], {})


# ---------------------------------------------------------------- sessions


def test_only_one_session_of_a_study_is_alive(store: Store) -> None:
    session = store.begin_session(STUDY)
    with pytest.raises(StoreError, match=f"searched by process {os.getpid()} on "):
        store.begin_session(STUDY)
    store.put_study("another", {})
    store.begin_session("another")
    store.end_session(session, "budget")
    assert store.begin_session(STUDY) > session
    first, second = store.sessions(STUDY)
    assert (first.end_reason, second.ended_at, second.pid) == ("budget", None, os.getpid())
    with pytest.raises(StoreError, match="no study 'unknown' in the database; it holds: shapes"):
        store.begin_session("unknown")


def test_the_session_of_a_dead_process_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: dead.pid)
        session = store.begin_session(STUDY)
    store.heartbeat(session, proposals=7, redrawn=2)
    store.begin_session(STUDY)
    lost = store.sessions(STUDY)[0]
    assert (lost.end_reason, lost.ended_at) == ("lost", lost.last_seen_at)
    assert (lost.proposals, lost.redrawn) == (7, 2)
    assert lost.duration_s == (lost.last_seen_at - lost.started_at).total_seconds() > 0


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells when a process started")
def test_a_process_that_started_after_the_session_is_another(store: Store) -> None:
    store.begin_session(STUDY)
    execute(store.url, "UPDATE nas_session SET started_at = '2020-01-01 00:00:00.000000'")
    store.begin_session(STUDY)
    assert store.sessions(STUDY)[0].end_reason == "lost"


def test_a_session_on_another_host_lives_by_its_heartbeat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        session = store.begin_session(STUDY)
    with pytest.raises(StoreError, match="on elsewhere"):
        store.begin_session(STUDY)
    silent = datetime.now(UTC) - timedelta(seconds=130)
    execute(store.url, f"UPDATE nas_session SET last_seen_at = '{silent:%Y-%m-%d %H:%M:%S.%f}'")
    execute(store.url, "UPDATE nas_session SET started_at = '2020-01-01 00:00:00.000000'")
    assert store.begin_session(STUDY) > session


def test_an_unknown_session_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no session 99"):
        store.heartbeat(99, 0, 0)
    with pytest.raises(StoreError, match="no session 99"):
        store.end_session(99, "budget")


# ---------------------------------------------------------------- leases and evaluations


def test_an_evaluation_comes_back_as_it_was(store: Store) -> None:
    token = lease(store)
    running = store.trial(STUDY, 0)
    assert running is not None
    assert (running.token, running.attempt, running.evaluation) == (token, 1, None)
    number = store.record(token, EVALUATION)
    assert number is not None
    want = replace(EVALUATION, id=number)
    assert store.evaluation(number) == want
    assert store.trial(STUDY, 0) == replace(running, evaluation=want)
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
    store.mark(STUDY, 0, "waiting")
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
    store.mark(STUDY, 0, "waiting")
    assert [trial.reason for trial in store.trials(STUDY)] == ["waiting"]
    with pytest.raises(StoreError, match="no trial 9 of study 'shapes'"):
        store.mark(STUDY, 9, "waiting")


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
        ({"status": "failed"}, "has a reason of diverged, .*; got None"),
        ({"status": "failed", "reason": "boredom"}, "got 'boredom'"),
    ],
)
def test_an_evaluation_that_contradicts_itself(change: dict[str, str], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        replace(EVALUATION, **change)  # type: ignore[arg-type]


# ---------------------------------------------------------------- several programs


def test_everything_is_there_after_reopening(store: Store) -> None:
    number = store.record(lease(store), EVALUATION)
    with Store.open(store.url, create=False) as again:
        assert again.trials(STUDY) == store.trials(STUDY)
        assert again.finished(ARCHITECTURE, PROTOCOL) == replace(EVALUATION, id=number)
        assert again.info() == store.info()


def _record_many(url: str, first: int, shared: str) -> list[int | None]:
    with Store.open(url) as store:
        store.put_architecture("both put this", "{}")
        ids = [store.record(lease(store, first + i), EVALUATION) for i in range(20)]
        return [store.record(shared, EVALUATION), *ids]


def test_two_processes_record_at_once(store: Store) -> None:
    shared = lease(store, 1000)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        calls = [pool.submit(_record_many, store.url, first, shared) for first in (0, 100)]
        ids = [call.result() for call in calls]
    assert ids[0][0] == ids[1][0]
    assert None not in {*ids[0], *ids[1]}
    assert len({*ids[0], *ids[1]}) == 41
    assert store.info().rows["nas_evaluation"] == 41
    assert all(trial.evaluation for trial in store.trials(STUDY))


def test_optuna_comes_and_goes_in_the_same_database(store: Store) -> None:
    store.record(lease(store), EVALUATION)
    ours = store.trials(STUDY)
    storage = store.optuna_storage()
    assert store.optuna_storage() is storage
    study = optuna.create_study(study_name=STUDY, storage=storage)
    study.add_trial(optuna.trial.create_trial(value=1.0))
    assert store.info().rows["nas_trial"] == 1
    optuna.delete_study(study_name=STUDY, storage=storage)
    assert optuna.get_all_study_names(storage) == []
    assert store.trials(STUDY) == ours


def test_a_store_shows_no_password(store: Store) -> None:
    info = store.info()
    assert "s3%7B" not in repr(store) + info.url
    assert "s3{" not in repr(store) + info.url
    assert store.url.startswith(f"{info.backend}")
    assert info.revision == "0001"
    assert info.size_bytes > 10_000
    assert info.rows["nas_study"] == 1


def test_a_write_outlasts_a_short_lock(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.01)
    with Store.open(sqlite_url) as store:
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.rollback)
        release.start()
        store.put_study(STUDY, {})
        release.join()
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(engine, "RETRY_DELAYS_S", (0.01,))
        with pytest.raises(StoreError, match=r"^database sqlite:.*: database is locked$"):
            store.put_study("later", {})
        other.close()
        assert store.study_names() == [STUDY]


def test_a_write_outlasts_a_dropped_connection(postgres_url: str) -> None:
    with Store.open(postgres_url) as store:
        store.put_study(STUDY, {})
        execute(
            postgres_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        store.put_study("later", {})
        assert store.study_names() == [STUDY, "later"]
