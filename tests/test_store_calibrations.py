"""Calibrations and a trial's own costs in the database, SQLite and PostgreSQL."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from store_databases import ARCHITECTURE, EVALUATION, PROTOCOL, STUDY, execute

from hybridnas.errors import StoreError
from hybridnas.store import Store, schema

pytest_plugins = ["store_databases"]

OTHER = "aaaabbbbcccc"
SETTINGS = {"archs": 24, "proxy": {"epochs": 3}}


def test_a_calibration_gets_its_result(store: Store) -> None:
    store.put_protocol(OTHER, "{}")
    number = store.begin_calibration(STUDY, PROTOCOL, OTHER, SETTINGS)
    (begun,) = store.calibrations(study=STUDY)
    assert (begun.id, begun.result, begun.ended_at) == (number, None, None)
    assert (begun.proxy_digest, begun.judge_digest) == (PROTOCOL, OTHER)
    assert begun.settings == SETTINGS
    store.end_calibration(number, {"tau": {"proxy": 0.5}})
    (ended,) = store.calibrations()
    assert ended.result == {"tau": {"proxy": 0.5}}
    assert ended.ended_at is not None
    assert ended.ended_at >= ended.began_at == begun.began_at
    assert store.calibrations(study=STUDY) == [ended]
    assert store.calibrations(study="another") == []


def test_what_cannot_be_kept_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="no calibration 7 in the database"):
        store.end_calibration(7, {})
    number = store.begin_calibration(STUDY, PROTOCOL, PROTOCOL, {})
    with pytest.raises(StoreError, match="Out of range float values"):
        store.end_calibration(number, {"tau": float("nan")})
    assert store.calibrations(study=STUDY)[0].result is None


def test_costs_belong_to_the_trial(store: Store) -> None:
    token = store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL, {"latency_ms": 1.5})
    written = store.record(token, EVALUATION)
    assert written is not None
    store.reuse(STUDY, 1, ARCHITECTURE, PROTOCOL, written, {"latency_ms": 2.5})
    store.reuse(STUDY, 2, ARCHITECTURE, PROTOCOL, written)
    assert [t.costs for t in store.trials(STUDY)] == [{"latency_ms": 1.5}, {"latency_ms": 2.5}, {}]
    store.lease(STUDY, 1, ARCHITECTURE, PROTOCOL, {"latency_ms": 3.5})
    known = store.trial(STUDY, 1)
    assert known is not None
    assert known.costs == {"latency_ms": 3.5}


def test_a_database_of_before_is_upgraded(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trials have no costs of their own then, and get them at their next lease."""
    first = tmp_path / "first"
    shutil.copytree(
        schema.SCRIPTS, first, ignore=shutil.ignore_patterns("000[2-9]*", "__pycache__")
    )
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "SCRIPTS", first)
        with Store.open(url) as store:
            store.put_study(STUDY, {})
            store.put_architecture(ARCHITECTURE, "{}")
            store.put_protocol(PROTOCOL, "{}")
    execute(
        url,
        "INSERT INTO nas_trial (study, number, architecture_digest, protocol_digest, token, "
        f"attempt, created_at) VALUES ('{STUDY}', 0, '{ARCHITECTURE}', '{PROTOCOL}', 't', 1, "
        "'2026-01-02 03:04:05')",
    )
    assert Store.upgrade(url) == ("0001", schema.revisions()[-1])
    with Store.open(url, create=False) as store:
        assert [trial.costs for trial in store.trials(STUDY)] == [{}]
        assert store.calibrations(study=STUDY) == []
        store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL, {"latency_ms": 1.5})
        assert [trial.costs for trial in store.trials(STUDY)] == [{"latency_ms": 1.5}]
