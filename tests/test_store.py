"""Studies, sessions, fronts, and several programs at once, on each kind of database."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf, nan
from multiprocessing import get_context

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from store_databases import ARCHITECTURE, EVALUATION, NEWEST, PROTOCOL, STUDY, execute, lease

from hybridnas.errors import StoreError
from hybridnas.store import Assignment, Store, engine

pytest_plugins = ["store_databases"]

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


def test_a_run_that_was_taken_for_dead_writes_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Suspended for a while, say, and then it wakes up on a host of its own."""
    optuna.create_study(storage=store.optuna_storage(), study_name=STUDY)
    wanted = Assignment(
        architecture_digest=ARCHITECTURE, architecture_json="{}", protocol_digest=PROTOCOL
    )
    running = create_trial(state=TrialState.RUNNING)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: "elsewhere")
        session = store.begin_session(STUDY)
    first = store.begin_trial(STUDY, running, wanted)
    silent = datetime.now(UTC) - timedelta(seconds=130)
    execute(store.url, f"UPDATE nas_session SET last_seen_at = '{silent:%Y-%m-%d %H:%M:%S.%f}'")
    with Store.open(store.url) as other:
        taken = other.begin_session(STUDY)
        for work in (
            lambda: store.begin_trial(STUDY, running, wanted),
            lambda: store.lease_or_reuse(STUDY, 0, wanted),
            lambda: store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL),
            lambda: store.mark(STUDY, [0], "pruned"),
            lambda: store.put_back_trial(STUDY, 0, first.trial_id),
            lambda: store.heartbeat(session, 1, 0),
        ):
            with pytest.raises(StoreError, match="took this one for dead"):
                work()
        store.end_session(session, "error")
        assert [s.end_reason for s in store.sessions(STUDY)] == ["lost", None]
        assert other.begin_trial(STUDY, running, wanted).number == 1, "nothing was left half done"
        other.end_session(taken, "trials")
        assert other.begin_trial(STUDY, running, wanted).number == 2, "no session, no check"


def test_an_unknown_session_is_an_error(store: Store) -> None:
    with pytest.raises(StoreError, match="no session 99"):
        store.heartbeat(99, 0, 0)
    with pytest.raises(StoreError, match="no session 99"):
        store.end_session(99, "budget")


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
    assert info.revision == NEWEST
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
