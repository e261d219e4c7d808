"""Going on after an interruption or a death: nothing lost, nothing trained twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from optuna.trial import TrialState
from search_helpers import (
    FAILED,
    LISTED,
    SIX,
    Notes,
    asked,
    drive,
    finish,
    optuna_trials,
    plan,
    result,
    start,
)

from hybridnas.errors import ConfigError, DataError, StoreError
from hybridnas.sampler_config import SAMPLER_OPTIONS
from hybridnas.search import driver
from hybridnas.search.core import SearchCore
from hybridnas.search.registration import check_registered
from hybridnas.store import Evaluation, Store
from hybridnas.store import trials as store_trials

WIDE: dict[str, Any] = {"space": LISTED, "budget": {"trials": 8}}


@contextmanager
def reopened(store: Store, **changes: Any) -> Iterator[tuple[SearchCore, Notes]]:
    """The study as a new process finds it."""
    notes = Notes()
    with Store.open(store.url, create=False) as again:
        yield start(plan(**{**WIDE, **changes}), again, notes), notes


def states(store: Store) -> list[str]:
    return [trial.state.name for trial in optuna_trials(store)]


def check_whole(store: Store, total: int) -> None:
    """The budget was spent once: every trial has ended, each evaluation is there once."""
    trials = optuna_trials(store)
    assert len(trials) == total
    assert {t.state for t in trials} <= {TrialState.COMPLETE, TrialState.FAIL}
    assert len({t.user_attrs["arch digest"] for t in trials}) == total
    records = store.trials("shapes")
    assert [r.number for r in records] == list(range(total))
    found = [r.evaluation.id for r in records if r.evaluation is not None]
    assert len(set(found)) == len(found) == total == store.info().rows["nas_evaluation"]
    for trial, record in zip(trials, records, strict=True):
        assert record.evaluation is not None
        assert trial.user_attrs["evaluation"] == record.evaluation.id
        assert (trial.state == TrialState.COMPLETE) == (record.evaluation.status == "ok")


def test_broken_data_found_before_any_result_leave_a_study_as_good_as_new(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(core: SearchCore, *_: object) -> str:
        for number in range(results):
            finish(core, asked(core))
            assert core.running == {}, number
        asked(core)
        core.release()
        raise DataError("an image cannot be read")

    made = plan(**WIDE)
    monkeypatch.setattr(driver, "_work", broken)
    for results in (0, 1):
        assert not check_registered(made, study_store, resume=False)
        with pytest.raises(DataError):
            driver.run_study(made, study_store)
        assert len(study_store.trials("shapes")) == (2 if results else 0)
    assert states(study_store) == ["COMPLETE", "WAITING"], "of worth: it stays"
    with pytest.raises(ConfigError, match="in the database already"):
        check_registered(made, study_store, resume=False)


def test_after_a_death(study_store: Store) -> None:
    first = start(plan(**WIDE), study_store)
    finish(first, asked(first))
    recorded, failed, lost = asked(first), asked(first), asked(first)
    assert study_store.record(recorded.token, result(recorded))
    assert study_store.record(failed.token, result(failed, **FAILED))
    assert states(study_store) == ["COMPLETE"] + ["RUNNING"] * 3
    with reopened(study_store) as (again, notes):
        assert notes.done_before == 1
        assert states(study_store) == ["COMPLETE", "COMPLETE", "FAIL", "WAITING"]
        assert [r.number for r in notes.results] == [1, 2]
        candidate = asked(again)
        assert (candidate.number, candidate.digest) == (lost.number, lost.digest)
        assert candidate.costs == lost.costs
        assert candidate.token != lost.token
        assert states(study_store)[3] == "RUNNING"
        orphan = result(lost, metrics={"top1": 0.99})
        assert study_store.record(lost.token, orphan) is None, "the old lease is void"
        finish(again, candidate)
        assert [c.number for c in drive(again)] == [4, 5, 6, 7]
    check_whole(study_store, 8)
    trial = optuna_trials(study_store)[lost.number]
    assert trial.values is not None
    assert trial.values[0] != 0.99


def test_a_run_that_was_taken_for_dead_settles_nothing(study_store: Store) -> None:
    """Another one has leased its trial; now its worker ends with nothing to show."""
    first = start(plan(**WIDE), study_store)
    candidate = asked(first)
    with reopened(study_store) as (second, _):
        again = asked(second)
        assert again.number == candidate.number
        with pytest.raises(StoreError, match="another run of study 'shapes' has taken trial 0 up"):
            first.settle(candidate.number)
        finish(second, again)
        with pytest.raises(StoreError, match="another run"):
            first.settle(candidate.number)
    assert states(study_store) == ["COMPLETE"]
    assert study_store.info().rows["nas_evaluation"] == 1


def test_after_an_interruption(study_store: Store) -> None:
    first = start(plan(**WIDE), study_store)
    finish(first, asked(first))
    recorded, *left = [asked(first) for _ in range(3)]
    assert study_store.record(recorded.token, result(recorded))
    first.release()
    assert first.running == {}
    assert states(study_store) == ["COMPLETE", "COMPLETE", "WAITING", "WAITING"]
    marked = [study_store.trial("shapes", c.number) for c in left]
    assert [record and record.reason for record in marked] == ["waiting", "waiting"]
    with reopened(study_store) as (again, _):
        together = [asked(again) for _ in range(6)]  # all at once, what waited first
        assert [c.number for c in together] == [2, 3, 4, 5, 6, 7]
        assert [c.digest for c in together[:2]] == [c.digest for c in left]
        assert {c.token for c in together}.isdisjoint(c.token for c in left)
        for candidate in reversed(together):
            finish(again, candidate)
        assert again.stop_reason == "trials"
    check_whole(study_store, 8)


@pytest.mark.parametrize("sampler", SAMPLER_OPTIONS)
def test_every_sampler_goes_on(sampler: str, study_store: Store) -> None:
    takes = SAMPLER_OPTIONS[sampler]
    few = {name: 3 for name in ("startup_trials", "population_size") if name in takes}
    options = {"name": sampler, **few}
    core = start(plan(**WIDE, sampler=options), study_store)
    for _ in range(5):
        finish(core, asked(core))
    asked(core)
    core.release()
    with reopened(study_store, sampler=options) as (again, _):
        drive(again)
    check_whole(study_store, 8)
    if sampler == "nsga2":
        keys = [t.system_attrs["NSGAIISampler:generation"] for t in optuna_trials(study_store)]
        assert keys == [0, 0, 0, 1, 1, 1, 2, 2]


def test_a_death_while_a_trial_is_created(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> str:
        raise StoreError("the disk is full")

    core = start(plan(**WIDE), study_store)
    finish(core, asked(core))
    with monkeypatch.context() as patch:
        patch.setattr(store_trials, "lease", dies)
        with pytest.raises(StoreError, match="disk is full"):
            core.ask()
    assert study_store.trial("shapes", 1) is None
    assert states(study_store) == ["COMPLETE"], "Optuna's trial and ours are there both, or none"
    with reopened(study_store) as (again, _):
        assert [c.number for c in drive(again)] == list(range(1, 8))
    check_whole(study_store, 8)


def test_a_death_before_a_known_evaluation_is_told(
    study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive(start(plan(budget={"trials": 6}), study_store))
    second = start(plan(name="second", budget={"gpu_hours": 1}), study_store)

    def dies(*_: object, **__: object) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(SearchCore, "_tell", dies)
        with pytest.raises(StoreError, match="disk is full"):
            second.ask()
    notes = Notes()
    assert drive(start(plan(name="second"), study_store, notes)) == []
    assert [result.reused for result in notes.results] == [True] * 6
    trials = optuna_trials(study_store, "second")
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 6
    assert all(t.user_attrs["reused"] for t in trials)


def test_nothing_stays_running_when_the_budget_is_spent(study_store: Store) -> None:
    core = start(plan(**WIDE), study_store)
    recorded = asked(core)
    asked(core)
    assert study_store.record(recorded.token, result(recorded))
    with reopened(study_store, budget={"hours": 1e-9}) as (again, _):
        assert (again.ask(), again.stop_reason) == (None, "hours")
    assert states(study_store) == ["COMPLETE", "WAITING"]


def test_a_larger_budget_goes_on(study_store: Store) -> None:
    drive(start(plan(**WIDE), study_store))
    with reopened(study_store, budget={"trials": 8}) as (done, _):
        assert (done.ask(), done.stop_reason) == (None, "trials")
    with reopened(study_store, budget={"trials": 10}) as (more, notes):
        assert notes.done_before == 8
        assert [c.number for c in drive(more)] == [8, 9]
    check_whole(study_store, 10)
    params = [trial.params for trial in optuna_trials(study_store)]
    for old, new in zip(params, params[8:], strict=False):
        differences = sum(old[gene] != new[gene] for gene in old)
        assert differences > 2, "a resumed search draws other numbers than it began with"


def test_a_study_that_never_had_a_trial_begins_anew(study_store: Store) -> None:
    """Its first start got no further; then its space and objectives were changed."""
    start(plan(**WIDE), study_store)
    objectives = {"params": "minimize", "macs": "minimize", "top5": "maximize"}
    with reopened(study_store, space=SIX, objectives=objectives) as (again, notes):
        assert notes.done_before == 0
        assert len(drive(again)) == 6
    check_whole(study_store, 6)
    assert [len(trial.values or []) for trial in optuna_trials(study_store)] == [3] * 6


def test_what_waits_is_within_the_budget(study_store: Store) -> None:
    core = start(plan(budget={"trials": 3}), study_store)
    assert [asked(core).number for _ in range(3)] == [0, 1, 2]
    core.release()
    with reopened(study_store, space=SIX, budget={"trials": 3}) as (again, _):
        assert again.stop_reason is None
        assert [c.number for c in drive(again)] == [0, 1, 2]
    check_whole(study_store, 3)


@pytest.mark.parametrize("seed", range(2))
def test_any_chain_of_deaths_and_interruptions(seed: int, study_store: Store) -> None:
    """Random ends of random runs with several candidates at once; orphans write in between."""
    rng, total = random.Random(seed), 15
    orphans: list[tuple[int, str, Evaluation]] = []
    refused = 0
    sampler = rng.choice(["tpe", "nsga2", "random"])
    for _ in range(8):
        with reopened(study_store, sampler=sampler, budget={"trials": total}) as (core, _):
            candidates = [c for c in (core.ask() for _ in range(rng.randrange(1, 4))) if c]
            for number, token, evaluation in orphans:
                record = study_store.trial("shapes", number)
                assert record is not None
                written = study_store.record(token, evaluation)
                assert (written is not None) == (record.token == token)
                refused += written is None
            orphans.clear()
            for candidate in rng.sample(candidates, rng.randrange(len(candidates) + 1)):
                finish(core, candidate, **(FAILED if rng.random() < 0.2 else {}))
            for candidate in core.running.values():
                evaluation = result(candidate)
                if rng.random() < 0.3:
                    assert study_store.record(candidate.token, evaluation)
                else:
                    orphans.append((candidate.number, candidate.token, evaluation))
            if rng.random() < 0.5:
                core.release()
    assert refused, "the chain tries what it is for"
    with reopened(study_store, sampler=sampler, budget={"trials": total}) as (core, _):
        drive(core)
    check_whole(study_store, total)


def test_what_is_put_back_costs_whole_numbers_still(study_store: Store) -> None:
    first = start(plan(**WIDE), study_store).ask()
    assert first is not None
    with reopened(study_store) as (core, _):
        again = core.ask()
    assert again is not None
    assert again.number == first.number
    assert repr(again.costs) == repr(first.costs), "macs are 2178240, not 2178240.0"
