"""A search over several rungs after deaths and interruptions: nothing lost, nothing twice."""

from __future__ import annotations

import random
from typing import Any

import pytest
from optuna.trial import TrialState
from rung_helpers import (
    asked,
    begin,
    finish,
    reached,
    reopened,
    runs,
    states,
)
from search_helpers import FAILED, optuna_trials
from table_helpers import evaluated

from hybridnas.config import Budget
from hybridnas.errors import StoreError
from hybridnas.search.ledger import Ledger
from hybridnas.search.local import run_here
from hybridnas.search.observer import Candidate
from hybridnas.store import Store


def check_whole(store: Store, trials: int, low_to_high: float = 0.25) -> None:
    """Every trial has ended, each run has one evaluation of its own, the rates were kept."""
    found = optuna_trials(store, "tabular")
    assert [t.number for t in found] == list(range(trials))
    assert {t.state for t in found} <= {TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED}
    ended = [run for of_one in runs(store).values() for run in of_one]
    ids = [run.evaluation.id for run in ended if run.evaluation is not None]
    assert len(set(ids)) == len(ids) == len(ended) == store.info().rows["nas_evaluation"]
    passed = [
        bool(run.evaluation and run.evaluation.status == "ok") for run in ended if run.rung == 0
    ]
    assert sum(run.rung == 1 for run in ended) == int(low_to_high * sum(passed))


def test_after_a_death_at_each_rung(study_store: Store) -> None:
    core = begin(study_store, budget=Budget(trials=9))
    for _ in range(4):
        finish(core, asked(core))
    high, recorded, lost = (asked(core) for _ in range(3))
    assert (high.rung, recorded.rung, lost.rung) == (1, 0, 0)
    assert study_store.record(recorded.token, evaluated(recorded))
    with reopened(study_store, budget=Budget(trials=9)) as (again, notes):
        assert notes.done_before == 4
        assert [(r.number, r.stage) for r in notes.results] == [(recorded.number, "rung 1 of 2")]
        redone = [asked(again), asked(again)]
        assert [(c.number, c.rung) for c in redone] == [(high.number, 1), (lost.number, 0)]
        assert study_store.record(high.token, evaluated(high)) is None, "the old lease is void"
        for candidate in redone:
            finish(again, candidate)
        assert run_here(again, evaluated) == "trials"
    check_whole(study_store, 9)


def test_a_result_that_comes_while_the_next_run_begins(study_store: Store) -> None:
    """The worker outlived its driver: its lease is good until somebody takes the trial up."""
    core = begin(study_store, budget=Budget(gpu_hours=8 / 60))
    late = asked(core)
    with reopened(study_store, budget=Budget(gpu_hours=8 / 60)) as (again, notes):
        assert study_store.record(late.token, evaluated(late))
        assert asked(again).number == 1
        assert [(r.number, r.reused) for r in notes.results] == [(late.number, False)]
        again.release()
    with reopened(study_store, budget=Budget(gpu_hours=8 / 60)) as (again, _):
        assert run_here(again, evaluated) == "gpu_hours"
    assert reached(study_store) == [4, 1], "and it is paid: 4 minutes below, 4 at the top"


def test_after_an_interruption(study_store: Store) -> None:
    core = begin(study_store, budget=Budget(trials=9))
    for _ in range(4):
        finish(core, asked(core))
    high, low = asked(core), asked(core)
    core.release()
    assert states(study_store) == {"RUNNING": 3, "WAITING": 2}
    with reopened(study_store, budget=Budget(trials=9)) as (again, _):
        both = [asked(again), asked(again)]
        assert [(c.number, c.rung) for c in both] == [(high.number, 1), (low.number, 0)]
        for candidate in both:
            finish(again, candidate)
        run_here(again, evaluated)
    check_whole(study_store, 9)


def test_a_death_between_the_record_and_its_telling(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has written, the core dies before the dashboard sees the rung's score."""

    def dies(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    core = begin(study_store, budget=Budget(trials=8))
    for _ in range(3):
        finish(core, asked(core))
    fourth = asked(core)
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "note", dies)
        with pytest.raises(StoreError, match="disk is full"):
            finish(core, fourth)
    with reopened(study_store, budget=Budget(trials=8)) as (again, notes):
        assert [r.number for r in notes.results] == [fourth.number]
        assert asked(again).rung == 1, "the four decide who goes on, as they would have"
        again.release()
    with reopened(study_store, budget=Budget(trials=8)) as (again, _):
        run_here(again, evaluated)
    check_whole(study_store, 8)


def test_a_death_while_the_rest_is_pruned(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Ledger.end, iter(range(99))

    def dies_at_the_third(self: Ledger, number: int, state: TrialState, *rest: Any) -> None:
        if state == TrialState.PRUNED and next(calls) == 2:
            raise StoreError("the disk is full")
        real(self, number, state, *rest)

    monkeypatch.setattr(Ledger, "end", dies_at_the_third)
    with pytest.raises(StoreError):
        run_here(begin(study_store, budget=Budget(trials=8)), evaluated)
    assert states(study_store) == {"COMPLETE": 2, "PRUNED": 2, "RUNNING": 4}
    with reopened(study_store, budget=Budget(trials=8)) as (again, _):
        assert run_here(again, evaluated) == "trials"
    check_whole(study_store, 8)


def test_a_larger_budget_goes_on(study_store: Store) -> None:
    run_here(begin(study_store, budget=Budget(trials=8)), evaluated)
    with reopened(study_store, budget=Budget(trials=16)) as (more, _):
        run_here(more, evaluated)
    low, high = reached(study_store)
    assert (low, states(study_store)["COMPLETE"]) == (16, high)
    assert 3 <= high <= 4, "those pruned before do not come back, though they may be among the best"


@pytest.mark.parametrize("seed", range(2))
def test_any_chain_of_deaths(seed: int, study_store: Store) -> None:
    """Random ends of random runs with several candidates at once; orphans write in between."""
    rng, total = random.Random(seed), 16
    orphans: list[Candidate] = []
    for _ in range(8):
        with reopened(study_store, budget=Budget(trials=total)) as (core, _):
            running = [c for c in (core.ask() for _ in range(rng.randrange(1, 5))) if c]
            for orphan in orphans:
                record = study_store.trial("tabular", orphan.number)
                assert record is not None
                written = study_store.record(orphan.token, evaluated(orphan))
                assert (written is not None) == (record.token == orphan.token)
            orphans.clear()
            for candidate in rng.sample(running, rng.randrange(len(running) + 1)):
                finish(core, candidate, **(FAILED if rng.random() < 0.2 else {}))
            for candidate in core.running.values():
                if rng.random() < 0.4:
                    assert study_store.record(candidate.token, evaluated(candidate))
                else:
                    orphans.append(candidate)
            if rng.random() < 0.5:
                core.release()
    with reopened(study_store, budget=Budget(trials=total)) as (core, _):
        run_here(core, evaluated)
    check_whole(study_store, total)
