"""A database that is away for a while, breaks off, or is full."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState, create_trial
from postgres_server import Server, is_installed
from search_helpers import LISTED, drive, optuna_trials, plan, start
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from store_databases import ARCHITECTURE, EVALUATION, PROTOCOL, STUDY

from hybridnas.errors import ConfigError, StoreError
from hybridnas.search.cluster import check_reach
from hybridnas.store import Assignment, Store, engine

pytest_plugins = ["store_databases"]

WANTED = Assignment(
    architecture_digest=ARCHITECTURE, architecture_json="{}", protocol_digest=PROTOCOL
)


@pytest.mark.skipif(not is_installed(), reason="needs PostgreSQL's initdb and pg_ctl on the PATH")
def test_a_server_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "RETRY_DELAYS_S", (0.01,))
    monkeypatch.setattr(engine, "WAIT_PAUSE_S", 0.1)
    with Server() as server, Store.open(f"{server.url}postgres") as store:
        store.put_study(STUDY, {})
        server.stop()
        with pytest.raises(StoreError):
            store.study_names()
        store.wait_for_server(60)
        back = threading.Timer(1, server.start)
        back.start()
        began = time.monotonic()
        store.put_study("second", {})
        assert store.study_names() == [STUDY, "second"]
        assert time.monotonic() - began > 0.9
        back.join()


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna.create_study(storage=store.optuna_storage(), study_name=STUDY)
    real, calls = engine._transaction, 0

    def breaks(connection: Engine, work: Callable[[Session], Any]) -> Any:
        nonlocal calls
        calls += 1
        result = real(connection, work)
        if calls % 2:
            raise OperationalError("", None, sqlite3.Error(), connection_invalidated=True)
        return result

    template = create_trial(state=TrialState.RUNNING)
    with monkeypatch.context() as patch:
        patch.setattr(engine, "RETRY_DELAYS_S", (0.01,))
        patch.setattr(engine, "_transaction", breaks)
        first = store.begin_trial(STUDY, template, WANTED)
        assert isinstance(first.lease, str)
        assert store.is_open(first.lease)
        written = store.record(first.lease, EVALUATION)
        assert not store.is_open(first.lease)
        second = store.begin_trial(STUDY, template, WANTED)
        assert store.end_trial(first.trial_id, TrialState.FAIL, None, {}) is False
    assert calls == 12, "each was tried twice"
    assert (first.number, second.number) == (0, 1)
    assert second.lease == store.evaluation(written or 0)
    states = [trial.state.name for trial in optuna_trials(store, STUDY)]
    assert states == ["FAIL", "RUNNING"]
    assert store.info().rows["nas_evaluation"] == 1
    assert not store.is_open("no such token")


@pytest.mark.parametrize("seed", range(3))
def test_a_full_disk_ends_the_search_and_loses_nothing(seed: int, tmp_path: Path) -> None:
    options: dict[str, Any] = {"space": LISTED, "budget": {"trials": 20}}
    url, whole = (f"sqlite:///{tmp_path / name}.db" for name in ("full", "whole"))
    with Store.open(whole) as store:
        drive(start(plan(**options), store))
        wanted = [(t.params, t.state, t.values) for t in optuna_trials(store)]
    room = random.Random(seed).randrange(1, 8)  # pages of 4 KiB

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages + room}")

    with Store.open(url) as store:
        start(plan(**options), store)
    with Store.open(url) as store:
        event.listen(store._database.engine, "connect", limit)
        store._database.engine.dispose()  # it has connections from before
        with pytest.raises(StoreError, match="full"):
            drive(start(plan(**options), store))
    with Store.open(url) as store:
        before = {r.number for r in store.trials("shapes") if r.evaluation is not None}
        begun = [candidate.number for candidate in drive(start(plan(**options), store))]
        assert before.isdisjoint(begun), "what was finished is not trained again"
        assert [(t.params, t.state, t.values) for t in optuna_trials(store)] == wanted
        assert store.info().rows["nas_evaluation"] == 20


def test_optuna_s_tables_on_a_full_disk_are_an_error_of_one_line(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        error = sqlite3.OperationalError("database or disk is full")
        raise StorageInternalError("during the commit") from OperationalError("x", None, error)

    monkeypatch.setattr(optuna, "create_study", full)
    with pytest.raises(StoreError, match=r"^database sqlite:.*: database or disk is full$"):
        start(plan(), study_store)


def test_workers_elsewhere_need_a_server() -> None:
    check_reach("sqlite:///x.db", "here", ["here", "here"])
    check_reach("postgresql+psycopg://u:secret@h/x", "here", ["here", "there"])
    with pytest.raises(ConfigError, match=r"workers on far, there: .* needs PostgreSQL"):
        check_reach("sqlite:///x.db", "here", ["there", "here", "far"])
