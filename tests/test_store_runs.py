"""The runs of a trial in the database: rungs and repeats, as they are leased, ended and reused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from store_databases import ARCHITECTURE, EVALUATION, FAILED, PROTOCOL, STUDY, execute

from hybridnas.config import Sampler
from hybridnas.store import Place, RunRecord, Store, schema

pytest_plugins = ["store_databases"]

HIGH = "0000000000aa"
HIGHER = replace(EVALUATION, protocol_digest=HIGH)


def runs(store: Store, number: int = 0) -> list[tuple[int, int, str, int | None, bool]]:
    record = store.trial(STUDY, number)
    assert record is not None
    return [
        (
            run.rung,
            run.repeat,
            run.protocol_digest,
            run.evaluation.id if run.evaluation else None,
            run.reused,
        )
        for run in record.runs
    ]


def test_a_run_begins_with_its_lease_and_ends_with_its_evaluation(store: Store) -> None:
    store.put_protocol(HIGH, "{}")
    token = store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL)
    assert runs(store) == [(0, 0, PROTOCOL, None, False)]
    low = store.record(token, FAILED)
    assert runs(store) == [(0, 0, PROTOCOL, low, False)]
    token = store.lease(STUDY, 0, ARCHITECTURE, HIGH, place=Place(1))
    assert runs(store) == [(0, 0, PROTOCOL, low, False), (1, 0, HIGH, None, False)]
    record = store.trial(STUDY, 0)
    assert record is not None
    assert record.evaluation is None, "of what is leased now"
    high = store.record(token, HIGHER)
    assert runs(store) == [(0, 0, PROTOCOL, low, False), (1, 0, HIGH, high, False)]
    record = store.trial(STUDY, 0)
    assert record is not None
    assert record.evaluation == replace(HIGHER, id=high)
    assert record.runs[0].evaluation == replace(FAILED, id=low)
    assert store.trials(STUDY) == [record]


def test_a_run_that_is_leased_again_begins_anew(store: Store) -> None:
    lost = store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL)
    token = store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL)
    assert store.record(lost, EVALUATION) is None
    first = store.record(token, FAILED)
    assert runs(store) == [(0, 0, PROTOCOL, first, False)]
    second = store.record(store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL), EVALUATION)
    assert second != first
    assert runs(store) == [(0, 0, PROTOCOL, second, False)]


def test_a_reused_run(store: Store) -> None:
    store.put_study("second", {})
    known = store.record(store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL), EVALUATION)
    assert known is not None
    store.reuse("second", 5, ARCHITECTURE, PROTOCOL, known, place=Place(0, 3))
    record = store.trial("second", 5)
    assert record is not None
    expected = RunRecord(
        rung=0,
        repeat=3,
        protocol_digest=PROTOCOL,
        evaluation=replace(EVALUATION, id=known),
        reused=True,
    )
    assert record.runs == (expected,)
    assert store.studies_of(known) == {STUDY, "second"}


def test_an_earlier_run_s_evaluation_still_belongs_to_the_study(store: Store) -> None:
    store.put_protocol(HIGH, "{}")
    low = store.record(store.lease(STUDY, 0, ARCHITECTURE, PROTOCOL), EVALUATION)
    store.lease(STUDY, 0, ARCHITECTURE, HIGH, place=Place(1))
    assert low is not None
    assert store.studies_of(low) == {STUDY}


@pytest.fixture
def before_runs(tmp_path: Path) -> Path:
    """The migrations up to the one before runs."""
    before = tmp_path / "before"
    later = shutil.ignore_patterns("000[3-9]*", "__pycache__")
    shutil.copytree(schema.SCRIPTS, before, ignore=later)
    return before


def test_trials_of_before_were_at_the_top_of_their_ladder(
    url: str, before_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "SCRIPTS", before_runs)
        with Store.open(url) as store:
            for study, rungs in ((STUDY, 1), ("ladder", 3)):
                store.put_study(study, {"fidelities": [{"epochs": i + 1} for i in range(rungs)]})
            store.put_architecture(ARCHITECTURE, "{}")
            store.put_protocol(PROTOCOL, "{}")
    columns = "study, number, architecture_digest, protocol_digest, token, attempt, created_at"
    fixed = f"'{ARCHITECTURE}', '{PROTOCOL}'"
    for study, number, attempt in ((STUDY, 0, 2), (STUDY, 1, 0), ("ladder", 0, 1)):
        execute(
            url,
            f"INSERT INTO nas_trial ({columns}) VALUES ('{study}', {number}, {fixed}, "
            f"'{study}{number}', {attempt}, '2026-01-02 03:04:05')",
        )
    assert Store.upgrade(url) == ("0002", schema.revisions()[-1])
    with Store.open(url, create=False) as store:
        found = [[(r.rung, r.repeat, r.reused) for r in t.runs] for t in store.trials(STUDY)]
        assert found == [[(0, 0, False)], [(0, 0, True)]]
        assert {trial.worker for trial in store.trials(STUDY)} == {None}
        (ladder,) = store.trials("ladder")
        assert [(r.rung, r.repeat, r.evaluation) for r in ladder.runs] == [(2, 0, None)]
        written = store.record("ladder0", EVALUATION)
        (ladder,) = store.trials("ladder")
        assert [r.evaluation.id if r.evaluation else None for r in ladder.runs] == [written]


def test_studies_of_before_keep_the_options_of_their_sampler_alone(
    url: str, before_runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They held those of all samplers, which is refused now: no study could be read any more."""
    wanted = {
        "tpe": Sampler(name="tpe", startup_trials=7),
        "nsga2": Sampler(name="nsga2", population_size=9),
        "random": Sampler(name="random"),
    }
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "SCRIPTS", before_runs)
        with Store.open(url) as store:
            for name in wanted:
                both = {"seed": None, "startup_trials": 7, "population_size": 9}
                store.put_study(name, {"seed": 3, "sampler": {"name": name, **both}})
    Store.upgrade(url)
    with Store.open(url, create=False) as store:
        for name, sampler in wanted.items():
            config = store.study_config(name)
            assert config is not None
            assert config["seed"] == 3
            assert Sampler.model_validate(config["sampler"]) == sampler
