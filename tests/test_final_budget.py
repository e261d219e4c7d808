"""What the final retraining costs, and how a search of some hours leaves it that."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import search_helpers as helpers
from search_helpers import optuna_trials
from table_helpers import evaluated, problem

from hybridnas.config import Budget, Final
from hybridnas.search.core import SearchCore
from hybridnas.search.local import run_here
from hybridnas.search.observer import Candidate
from hybridnas.search.spending import Spending
from hybridnas.store import Evaluation, Place, RunRecord, Store, TrialRecord

FINAL = Final(retrain=3, seeds=2)
ENDED = Evaluation(
    architecture_digest="a",
    protocol_digest="b",
    status="ok",
    seed=0,
    started_at=helpers.START,
    ended_at=helpers.START,
)
RECORD = TrialRecord(
    study="tabular",
    number=0,
    architecture_digest="a",
    protocol_digest="b",
    token="c",
    attempt=1,
    created_at=helpers.START,
    reason=None,
    worker=None,
    evaluation=ENDED,
    costs={},
    runs=(),
)


def begin(store: Store, **changes: Any) -> SearchCore:
    store.put_study("tabular", {})
    return SearchCore(problem(**{"final": FINAL, **changes}), store)


def finish(core: SearchCore, candidate: Candidate, **changes: Any) -> None:
    assert core.store.record(candidate.token, replace(evaluated(candidate), **changes))
    core.settle(candidate.number)


def retrained(store: Store) -> set[tuple[int, int]]:
    """Trial and repeat of what was trained again."""
    records = store.trials("tabular")
    return {(r.number, run.repeat) for r in records for run in r.runs if run.repeat}


def test_gpu_hours_keep_what_the_retraining_will_take(study_store: Store) -> None:
    """Each takes a GPU minute: of twenty, six are for the retraining."""
    core = begin(study_store, budget=Budget(gpu_hours=20 / 60))
    assert run_here(core, evaluated) == "gpu_hours"
    assert len(optuna_trials(study_store, "tabular")) == 14
    assert len(retrained(study_store)) == 6


@pytest.mark.parametrize("ended", [9, 15])
def test_a_resumed_search_keeps_it_too(ended: int, study_store: Store) -> None:
    """Interrupted before the retraining, and in it."""
    changes = {"budget": Budget(gpu_hours=20 / 60)}
    core = begin(study_store, **changes)
    for _ in range(ended):
        finish(core, helpers.asked(core))
    with Store.open(study_store.url, create=False) as store:
        assert run_here(begin(store, **changes), evaluated) == "gpu_hours"
    assert len(optuna_trials(study_store, "tabular")) == 14
    assert len(retrained(study_store)) == 6


def test_several_at_once_leave_it_as_well(study_store: Store) -> None:
    """What still runs when the search ends is not paid from the retraining's part."""
    core = begin(study_store, budget=Budget(gpu_hours=30 / 60))
    running: list[Candidate] = []
    while running or core.stop_reason is None:
        while len(running) < 4 and (candidate := core.ask()) is not None:
            running.append(candidate)
        finish(core, running.pop(0))
    assert len(optuna_trials(study_store, "tabular")) == 24
    assert len(retrained(study_store)) == 6


def test_more_gpu_hours_keep_what_other_finalists_will_take(study_store: Store) -> None:
    run_here(begin(study_store, budget=Budget(gpu_hours=20 / 60)), evaluated)
    before = retrained(study_store)
    with Store.open(study_store.url, create=False) as store:
        again = begin(store, budget=Budget(gpu_hours=60 / 60))
        assert run_here(again, evaluated) == "gpu_hours"
        assert again._standing.finals.left() == []
    new = retrained(study_store) - before
    assert len(new) >= 2, "there are other finalists now"


def test_hours_keep_it_for_as_many_at_once_as_before() -> None:
    """An hour of wall-clock, in which two at a time trained twelve times ten minutes."""
    minutes = replace(ENDED, timing={"total_s": 600.0})
    runs = [
        RunRecord(rung=0, repeat=0, protocol_digest="b", evaluation=evaluation, reused=reused)
        for evaluation, reused in [
            *[(minutes, False)] * 12,
            (replace(minutes, timing={"total_s": 9e9}, status="failed", reason="diverged"), True),
        ]
    ]
    spending = Spending(Budget(hours=2), 3600, top=0)
    spending.recall([replace(RECORD, runs=runs)])
    assert spending.width == 2
    assert spending.over() is None
    assert spending.over(11, width=2) is None, "55 minutes"
    assert spending.over(11, width=1) == "hours"
    assert spending.over(11, width=2, running=[Place(), Place()]) == "hours", (
        "ten minutes until they begin"
    )
    assert spending.over(9, width=2, running=[Place(), Place()]) is None


def test_a_finalist_is_trained_once_at_a_time_and_so_hours_are_kept(study_store: Store) -> None:
    """Ten at once; then one candidate three times, one after the other, which takes an hour."""
    final = Final(retrain=1, seeds=3)
    core = begin(study_store, final=final, budget=Budget(hours=0.9))
    for candidate in [helpers.asked(core) for _ in range(10)]:
        finish(core, candidate, timing={"total_s": 1200.0})
    rest = helpers.asked(core)
    assert (rest.repeat, core.ask(), core.stop_reason) == (1, None, None)


def test_a_budget_that_is_spent_ends_the_retraining_too(study_store: Store) -> None:
    core = begin(study_store, budget=Budget(gpu_hours=20 / 60))
    while (candidate := core.ask()) is not None:
        dear = {"timing": {"total_s": 180.0, "gpu_s": 180.0}} if candidate.repeat else {}
        finish(core, candidate, **dear)
    assert core.stop_reason == "gpu_hours"
    assert len(retrained(study_store)) == 2
