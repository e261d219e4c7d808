"""Several tasks in one study: each candidate is evaluated on all of them, one after the other."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rung_helpers import asked, reached, runs, states
from search_helpers import FAILED, Notes, optuna_trials
from table_helpers import problem, table_score

from hybridnas.config import Bound, Budget, Final
from hybridnas.search.core import SearchCore
from hybridnas.search.local import TableTerms, run_here, scored
from hybridnas.search.observer import Candidate
from hybridnas.store import Evaluation, Place, Store

OBJECTIVES = {"top1": "maximize", "b.miou": "maximize", "macs": "minimize"}


def begin(store: Store, observer: Notes | None = None, **changes: Any) -> SearchCore:
    """A search of the made-up table on two tasks, of which the second has scores of its own."""
    store.put_study("tabular", {})
    given: dict[str, Any] = {
        "objectives": OBJECTIVES,
        "tasks": ["", "b"],
        "terms": lambda place: TableTerms(f"letters {place.task}", place.rung, place.repeat),
        "budget": Budget(trials=8),
    }
    return SearchCore(problem(**given | changes), store, observer)


def miou(digest: str) -> float:
    return digest.count("a") / 10


def evaluated(candidate: Candidate) -> Evaluation:
    """A minute on the first task, two on the second."""
    if candidate.place.task:
        return scored(candidate, {"miou": miou(candidate.digest)}, 120, gpus=1)
    return scored(candidate, {"top1": table_score(candidate)}, 60, gpus=1)


def finish(core: SearchCore, candidate: Candidate, **changes: Any) -> None:
    assert core.store.record(candidate.token, replace(evaluated(candidate), **changes))
    core.settle(candidate.number)


def watched(seen: list[Candidate]) -> Callable[[Candidate], Evaluation]:
    def evaluate(candidate: Candidate) -> Evaluation:
        seen.append(candidate)
        return evaluated(candidate)

    return evaluate


def test_each_candidate_is_evaluated_on_both_before_the_next(study_store: Store) -> None:
    seen: list[Candidate] = []
    notes = Notes()
    assert run_here(begin(study_store, notes), watched(seen)) == "trials"
    places = [(number, Place(task=task)) for number in range(8) for task in ("", "b")]
    assert [(c.number, c.place) for c in seen] == places
    assert [c.keeps_weights for c in seen] == [True, False] * 8
    assert [(r.stage, r.begins, r.counts) for r in notes.results[:2]] == [
        ("", True, False),
        ("b", False, True),
    ]
    first = seen[0]
    assert notes.results[1].metrics["b.miou"] == miou(first.digest)
    assert notes.results[1].metrics["top1"] == table_score(first)
    trials = optuna_trials(study_store, "tabular")
    assert [t.values for t in trials] == [
        [table_score(c), miou(c.digest), c.costs["macs"]] for c in seen[::2]
    ]
    said = trials[0].user_attrs
    assert (said["top1"], said["b.miou"]) == (table_score(first), miou(first.digest))
    assert (said["total_s"], said["b.total_s"]) == (60, 120)


def test_a_rung_ends_with_the_last_task(study_store: Store) -> None:
    core = begin(study_store, rates=(0.5,), budget=Budget(trials=2))
    for number, task in ((0, ""), (0, "b"), (1, "")):
        candidate = asked(core)
        assert (candidate.number, candidate.place) == (number, Place(task=task))
        finish(core, candidate)
    last = asked(core)
    assert (core.ask(), core.stop_reason) == (None, None), "its score decides who goes on"
    finish(core, last)
    high = asked(core)
    assert high.stage == "rung 2 of 2"
    assert (core.ask(), core.stop_reason) == (None, None), "the other task is still to come"
    finish(core, high)
    assert asked(core).stage == "rung 2 of 2, b"
    notes = optuna_trials(study_store, "tabular")[high.number].user_attrs
    assert notes["rung 1 b.miou"] == miou(high.digest)


@pytest.mark.parametrize("changes", [FAILED, {"metrics": {"top5": 0.5}}])
def test_who_fails_on_one_task_is_not_trained_on_the_next(
    study_store: Store, changes: dict[str, Any]
) -> None:
    core = begin(study_store, budget=Budget(trials=2))
    finish(core, asked(core), **changes)
    second = asked(core)
    assert (second.number, second.place) == (1, Place())
    finish(core, second)
    finish(core, asked(core), **changes)
    assert (core.ask(), core.stop_reason) == (None, "trials")
    assert states(study_store) == {"FAIL": 2}
    assert [[run.task for run in found] for found in runs(study_store).values()] == [
        [""],
        ["", "b"],
    ]


def test_a_soft_bound_on_one_of_them(study_store: Store) -> None:
    core = begin(study_store, soft={"b.miou": Bound(min=0.1)})
    run_here(core, evaluated)
    for trial in optuna_trials(study_store, "tabular"):
        kept = miou(trial.user_attrs["arch digest"]) >= 0.1
        slacks = next(v for k, v in trial.system_attrs.items() if k.endswith("constraints"))
        assert (max(slacks) <= 0) == kept


def test_each_is_looked_up_by_itself(study_store: Store) -> None:
    """Another study has trained on the second task alone."""
    study_store.put_study("other", {})
    alone = problem(
        name="other",
        objectives={"miou": "maximize", "macs": "minimize"},
        terms=lambda place: TableTerms("letters b", place.rung, place.repeat),
        budget=Budget(trials=8),
    )

    def only_b(candidate: Candidate) -> Evaluation:
        return scored(candidate, {"miou": miou(candidate.digest)})

    run_here(SearchCore(alone, study_store), only_b)
    seen: list[Candidate] = []
    run_here(begin(study_store), watched(seen))
    assert [c.place for c in seen] == [Place()] * 8, "the same proposals"
    assert all([r.reused for r in found] == [False, True] for found in runs(study_store).values())


def test_the_best_are_trained_again_on_both(study_store: Store) -> None:
    seen: list[Candidate] = []
    core = begin(study_store, final=Final(retrain=2, seeds=2))
    assert run_here(core, watched(seen)) == "trials"
    again = [(c.repeat, c.place.task) for c in seen[16:]]
    assert again == [(r, task) for r in (1, 1, 2, 2) for task in ("", "b")]
    assert [c.stage for c in seen[16:18]] == ["seed 1 of 2", "seed 1 of 2, b"]


def test_the_retraining_goes_on_where_it_was(study_store: Store) -> None:
    final: dict[str, Any] = {"final": Final(retrain=1, seeds=2), "budget": Budget(trials=2)}
    core = begin(study_store, **final)
    for _ in range(4 + 1):
        finish(core, asked(core))
    core.release()
    with Store.open(study_store.url, create=False) as other:
        seen: list[Candidate] = []
        run_here(begin(other, **final), watched(seen))
    assert [(c.repeat, c.place.task) for c in seen] == [(1, "b"), (2, ""), (2, "b")]
    assert not any(run.reused for found in runs(study_store).values() for run in found)


def test_time_runs_out_between_two_tasks(study_store: Store) -> None:
    core = begin(study_store, budget=Budget(gpu_hours=4 / 60))
    for _ in range(3):
        finish(core, asked(core))
    assert (core.ask(), core.stop_reason) == (None, "gpu_hours")
    core.close()
    assert states(study_store) == {"COMPLETE": 1, "WAITING": 1}
    with Store.open(study_store.url, create=False) as other:
        notes = Notes()
        more = begin(other, notes, budget=Budget(gpu_hours=6 / 60))
        candidate = asked(more)
        assert (candidate.number, candidate.place) == (1, Place(task="b"))
        assert not notes.results, "the first task was told before"
        finish(more, candidate)
        assert more.stop_reason == "gpu_hours"
    assert states(study_store) == {"COMPLETE": 2}


@pytest.mark.parametrize("seed", range(4))
def test_any_chain_of_deaths(seed: int, study_store: Store, tmp_path: Path) -> None:
    """Nothing is trained twice, and what is trained is what an undisturbed run trains."""
    rng = random.Random(seed)
    given: dict[str, Any] = {"rates": (0.5,), "budget": Budget(trials=10)}
    for _ in range(10):
        with Store.open(study_store.url, create=False) as other:
            core = begin(other, **given)
            running = [c for c in (core.ask() for _ in range(rng.randrange(1, 4))) if c]
            for candidate in rng.sample(running, rng.randrange(len(running) + 1)):
                finish(core, candidate)
            for candidate in core.running.values():
                if rng.random() < 0.4:
                    assert other.record(candidate.token, evaluated(candidate))
            if rng.random() < 0.5:
                core.release()
    with Store.open(study_store.url, create=False) as other:
        assert run_here(begin(other, **given), evaluated) == "trials"
    assert sum(states(study_store).values()) == 10
    assert set(states(study_store)) == {"COMPLETE", "PRUNED"}
    found = [run for of_one in runs(study_store).values() for run in of_one]
    ids = {run.evaluation.id for run in found if run.evaluation}
    assert len(ids) == len(found) == study_store.info().rows["nas_evaluation"]
    assert [(r, t) for r in (0, 1) for t in ("", "b")] == sorted({(r.rung, r.task) for r in found})
    assert reached(study_store) == [20, 10]
    with Store.open(f"sqlite:///{tmp_path}/undisturbed.db") as other:
        run_here(begin(other, **given), evaluated)
        proposed = [
            [r.architecture_digest for r in s.trials("tabular")] for s in (other, study_store)
        ]
    assert proposed[0] == proposed[1]
