"""A search over several rungs, in process: who is trained where, what is told, what a resume finds.

The table of table_helpers at two rungs, the upper one four times as dear: one of four goes on.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from optuna.trial import TrialState
from rung_helpers import (
    THREE,
    asked,
    begin,
    finish,
    reached,
    reopened,
    runs,
    states,
)
from search_helpers import FAILED, Notes, optuna_trials
from table_helpers import evaluated, table_score

from hybridnas.config import Budget, Sampler
from hybridnas.search.core import SearchCore
from hybridnas.search.local import run_here
from hybridnas.search.observer import Candidate
from hybridnas.search.proposer import RUNGS
from hybridnas.store import Evaluation, Store


def test_one_of_four_goes_on_and_the_others_are_pruned(study_store: Store) -> None:
    seen: list[Candidate] = []

    def evaluate(candidate: Candidate) -> Evaluation:
        seen.append(candidate)
        return evaluated(candidate)

    core = begin(study_store)
    assert run_here(core, evaluate) == "trials"
    assert Counter(c.rung for c in seen) == {0: 20, 1: 5}
    assert [c.stage for c in seen[:4]] == ["rung 1 of 2"] * 4
    assert [(c.number, c.keeps_weights) for c in seen if c.rung == 0] == [
        (n, False) for n in range(20)
    ]
    assert all(c.keeps_weights for c in seen if c.rung)
    assert states(study_store) == {"COMPLETE": 5, "PRUNED": 15}
    low = {c.number: table_score(c) for c in seen if not c.rung}
    high = {c.number: table_score(c) for c in seen if c.rung}
    for trial in optuna_trials(study_store, "tabular"):
        number = trial.number
        assert trial.user_attrs["rung 1 top1"] == low[number]
        if number in high:
            assert trial.values == [high[number], trial.user_attrs["macs"]]
            assert trial.user_attrs["top1"] == high[number]
        else:
            assert trial.values is None
        assert not trial.intermediate_values, "they crash TPE in a study of several objectives"
    marked = {r.number for r in study_store.trials("tabular") if r.reason == "pruned"}
    assert marked == low.keys() - high.keys()


def test_the_shares_of_compute_come_out(study_store: Store) -> None:
    """Rates of 3 and 7 tenths at costs of 1 and 4."""
    run_here(begin(study_store, rates=(0.7 / 4 / 0.3,), budget=Budget(trials=40)), evaluated)
    low, high = reached(study_store)
    assert low == 40
    assert 4 * high / (low + 4 * high) == pytest.approx(0.7, abs=0.01)


def test_three_rungs(study_store: Store) -> None:
    run_here(begin(study_store, **THREE), evaluated)
    assert reached(study_store) == [20, 10, 4]
    assert states(study_store) == {"COMPLETE": 4, "PRUNED": 16}
    names = [f"rung {i} top1" for i in (1, 2)]
    kept = [[name in t.user_attrs for name in names] for t in optuna_trials(study_store, "tabular")]
    assert Counter(map(tuple, kept)) == {(True, True): 10, (True, False): 10}


def test_nothing_to_ask_for_yet_is_not_the_end(study_store: Store) -> None:
    core = begin(study_store, budget=Budget(trials=4))
    four = [asked(core) for _ in range(4)]
    assert (core.ask(), core.stop_reason) == (None, None), "one of them will go on"
    for candidate in four[:3]:
        finish(core, candidate)
    assert (core.ask(), core.stop_reason) == (None, None)
    finish(core, four[3])
    last = asked(core)
    assert (last.rung, core.ask(), core.stop_reason) == (1, None, "trials"), "it was the last"
    finish(core, last)
    assert states(study_store) == {"COMPLETE": 1, "RUNNING": 3}
    core.close()
    assert states(study_store) == {"COMPLETE": 1, "PRUNED": 3}


def test_a_failure_ends_a_trial_at_any_rung(study_store: Store) -> None:
    notes = Notes()
    core = begin(study_store, notes, rates=(1.0,), budget=Budget(trials=2))
    first = asked(core)
    finish(core, first, **FAILED)
    low = asked(core)
    finish(core, low)
    high = asked(core)
    assert (high.number, high.rung) == (low.number, 1)
    finish(core, high, metrics={"top5": 0.5})
    assert core.stop_reason == "trials"
    core.close()
    assert states(study_store) == {"FAIL": 2}
    assert [(r.reason, r.stage, r.begins, r.counts) for r in notes.results] == [
        ("out_of_memory", "rung 1 of 2", True, False),
        (None, "rung 1 of 2", True, False),
        (None, "rung 2 of 2", False, False),
    ]


def test_references_go_to_the_top(study_store: Store) -> None:
    worst = [{f"place{i}": letter for i in range(4)} for letter in "ab"]
    core = begin(study_store, references=worst, budget=Budget(trials=10))
    run_here(core, evaluated)
    found = runs(study_store)
    assert [len(found[number]) for number in (0, 1)] == [2, 2]
    others = sum(len(found[number]) == 2 for number in range(2, 10))
    assert others == 8 // 4, "and they take nobody's place"


def test_gpu_hours_count_every_rung(study_store: Store) -> None:
    core = begin(study_store, budget=Budget(gpu_hours=12 / 60))
    assert run_here(core, evaluated) == "gpu_hours"
    assert reached(study_store) == [8, 1], "8 minutes below, 4 at the top"
    assert states(study_store) == {"COMPLETE": 1, "PRUNED": 7}


@pytest.mark.parametrize(
    "options",
    [
        Sampler(name="ehvi", startup_trials=4),
        Sampler(name="tpe", startup_trials=3),
        Sampler(name="nsga2", population_size=3),
        Sampler(name="evolution", population_size=3),
    ],
    ids=lambda options: options.name,
)
def test_samplers_live_with_what_waits_and_was_pruned(options: Sampler, study_store: Store) -> None:
    run_here(begin(study_store, sampler=options, budget=Budget(trials=16)), evaluated)
    with reopened(study_store, sampler=options, budget=Budget(trials=24)) as (more, _):
        assert run_here(more, evaluated) == "trials"
    assert reached(study_store) == [24, 6]
    assert states(study_store) == {"COMPLETE": 6, "PRUNED": 18}


def test_samplers_learn_what_lower_rungs_said(study_store: Store) -> None:
    def told(core: SearchCore) -> dict[int, Any]:
        mirror, ids = core._proposer._storage, core._proposer._ids
        trials = {number: mirror.get_trial(ids[number]) for number in ids}
        return {number: trial.system_attrs.get(RUNGS) for number, trial in trials.items()}

    core = begin(study_store, **THREE)
    low: dict[int, list[list[float]]] = {}
    for _ in range(14):
        candidate = asked(core)
        finish(core, candidate)
        if candidate.rung < 2:
            low.setdefault(candidate.number, []).append([table_score(candidate)])
    assert {len(rungs) for rungs in low.values()} == {1, 2}
    assert told(core) == low
    core.release()
    with reopened(study_store, **THREE) as (again, _):
        assert told(again) == low


# ---------------------------------------------------------------- what another study knows


def test_each_rung_is_looked_up(study_store: Store) -> None:
    run_here(begin(study_store), evaluated)
    paid = sum(reached(study_store))
    seen: list[Candidate] = []

    def evaluate(candidate: Candidate) -> Evaluation:
        seen.append(candidate)
        return evaluated(candidate)

    study_store.put_study("second", {})
    run_here(begin(study_store, name="second", rates=(0.5,)), evaluate)
    assert {c.rung for c in seen} == {1}, "the same proposals, of which more go on"
    assert study_store.info().rows["nas_evaluation"] == paid + len(seen)
    records = study_store.trials("second")
    reused = [run.rung for record in records for run in record.runs if run.reused]
    assert Counter(reused) == {0: 20, 1: 10 - len(seen)}
    trials = optuna_trials(study_store, "second")
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    assert sum("reused" in t.user_attrs for t in complete) == 10 - len(seen)
