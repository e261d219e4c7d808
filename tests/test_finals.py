"""The final retraining: who is trained again, and what counts afterwards."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import search_helpers as helpers
from search_helpers import FAILED, optuna_trials
from table_helpers import evaluated, problem, table_score

from hybridnas.cli.origins import origin_of
from hybridnas.config import Budget, Final
from hybridnas.cost import cost
from hybridnas.errors import ConfigError
from hybridnas.export.card import model_card
from hybridnas.pareto import layers, non_dominated
from hybridnas.search.core import SearchCore
from hybridnas.search.finals import finalists
from hybridnas.search.local import run_here
from hybridnas.search.observer import Candidate
from hybridnas.search.registration import check_registered
from hybridnas.search.rows import Row
from hybridnas.search.view import StudyView
from hybridnas.store import Evaluation, Store

FINAL = Final(retrain=3, seeds=2)


def begin(store: Store, **changes: Any) -> SearchCore:
    store.put_study("tabular", {})
    given = {"final": FINAL, "budget": Budget(trials=10), **changes}
    return SearchCore(problem(**given), store)


def finish(core: SearchCore, candidate: Candidate, **changes: Any) -> None:
    assert core.store.record(candidate.token, replace(evaluated(candidate), **changes))
    core.settle(candidate.number)


def fresh(store: Store) -> Counter[tuple[int, int]]:
    """Trial and repeat of what was trained again, and how often."""
    records = store.trials("tabular")
    return Counter((r.number, run.repeat) for r in records for run in r.runs if run.repeat)


@pytest.mark.parametrize("seed", range(10))
def test_the_front_comes_first_then_the_next_layers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.random((12, 2))
    completed = {10 * number: tuple(row) for number, row in enumerate(losses)}
    layer = dict(zip(completed, layers(losses), strict=True))
    for number in range(13):
        chosen = finalists(completed, number)
        assert len(chosen) == len(set(chosen)) == number
        worst = max((layer[n] for n in chosen), default=-1)
        assert {n for n in completed if layer[n] < worst} <= set(chosen)
    front = np.flatnonzero(non_dominated(losses))
    assert set(finalists(completed, len(front))) == {10 * row for row in front.tolist()}
    assert finalists({}, 3) == []


def test_the_best_are_trained_again_with_fresh_seeds(study_store: Store) -> None:
    seen: list[Candidate] = []

    def evaluate(candidate: Candidate) -> Evaluation:
        seen.append(candidate)
        return evaluated(candidate)

    core = begin(study_store)
    assert run_here(core, evaluate) == "trials"
    search, again = seen[:10], seen[10:]
    losses = {c.number: (-table_score(c), c.costs["macs"]) for c in search}
    chosen = finalists(losses, 3)
    assert [(c.number, c.repeat) for c in again] == [(n, r) for r in (1, 2) for n in chosen]
    assert [c.stage for c in again] == ["seed 1 of 2"] * 3 + ["seed 2 of 2"] * 3
    assert not any(c.keeps_weights for c in again)
    assert len({c.protocol.digest for c in seen}) == 3, "one a seed"
    trials = optuna_trials(study_store, "tabular")
    assert len(trials) == 10, "a retraining is no trial"
    assert [t.values[0] for t in trials if t.values] == [-losses[n][0] for n in range(10)]


def test_one_candidate_is_trained_once_at_a_time(study_store: Store) -> None:
    core = begin(study_store, final=Final(retrain=1, seeds=2), budget=Budget(trials=2))
    first, second = core.ask(), core.ask()
    assert first is not None
    assert second is not None
    assert (core.ask(), core.stop_reason) == (None, None), "their results choose the finalist"
    finish(core, first)
    assert (core.ask(), core.stop_reason) == (None, None)
    finish(core, second)
    again = core.ask()
    assert again is not None
    assert (core.ask(), core.stop_reason) == (None, None)
    finish(core, again, **FAILED)
    last = core.ask()
    assert last is not None
    assert (last.number, last.repeat) == (again.number, 2)
    finish(core, last)
    assert (core.ask(), core.stop_reason) == (None, "trials")


def test_a_resume_goes_on_with_what_is_left(study_store: Store) -> None:
    core = begin(study_store)
    for _ in range(10):
        finish(core, helpers.asked(core))
    finish(core, helpers.asked(core))
    finish(core, helpers.asked(core), **FAILED)
    running = helpers.asked(core)
    assert core.store.record(running.token, evaluated(running))
    with Store.open(study_store.url, create=False) as store:
        again = begin(store)
        rest = helpers.asked(again)
        assert rest.repeat == 2, "the three first ones have ended, one of them badly"
        again.release()
        states = Counter(t.state.name for t in optuna_trials(store, "tabular"))
        assert states == {"COMPLETE": 10}, "their trials had ended before"
    with Store.open(study_store.url, create=False) as store:
        assert run_here(begin(store), evaluated) == "trials"
    assert set(fresh(study_store).values()) == {1}
    assert len(fresh(study_store)) == 6
    assert study_store.info().rows["nas_evaluation"] == 16


def test_a_larger_budget_chooses_again(study_store: Store) -> None:
    run_here(begin(study_store), evaluated)
    before = fresh(study_store)
    with Store.open(study_store.url, create=False) as store:
        run_here(begin(store, budget=Budget(trials=40)), evaluated)
    after = fresh(study_store)
    assert before.items() <= after.items(), "what was trained again is not trained a third time"
    assert len({n for n, _ in after}) > 3


# ---------------------------------------------------------------- as it is read

STUDY: dict[str, Any] = {"space": helpers.LISTED, "final": {"retrain": 3, "seeds": 3}}


def again(candidate: Candidate) -> float:
    """Made-up scores of fresh seeds: lower than what the candidate was chosen by."""
    return helpers.score(helpers.network(candidate)) - 0.1 * candidate.repeat


def card(view: StudyView, row: Row) -> str:
    known = cost(row.architecture, 32, num_classes=10)
    return model_card(row.architecture, known, origin_of(view, row), None, {})


def test_means_over_fresh_seeds_are_the_front(study_store: Store, tmp_path: Path) -> None:
    core = helpers.start(helpers.plan(**STUDY), study_store)
    for _ in range(6):
        helpers.finish(core, helpers.asked(core))
    before = StudyView("shapes", study_store)
    scores: dict[int, list[float]] = {}
    for turn in range(9):
        seen = StudyView("shapes", study_store)
        assert bool(seen.retrained) == (turn >= 3), "once each finalist has a fresh score"
        if turn < 3:
            assert seen.front_json() == before.front_json()
        candidate = helpers.asked(core)
        scores.setdefault(candidate.number, []).append(again(candidate))
        helpers.finish(core, candidate, metrics={"top1": again(candidate), **candidate.recorded})
    assert core.ask() is None
    view = StudyView("shapes", study_store)
    assert {row.number for row in view.retrained} == scores.keys()
    assert {row.number for row in view.front()} <= scores.keys()
    for member in view.front_json():
        found = scores[member["trial"]]
        assert member["values"]["top1"] == pytest.approx(fmean(found))
        assert member["spread"] == {"top1": pytest.approx(stdev(found))}
        assert member["seeds"] == 3
    assert len(view.finished) == 6
    assert view.counts() == {"ok": 6}
    tally = {"began": 9, "ok": 9, "failed": 0, "reused": 0, "gpu_hours": pytest.approx(9 / 60)}
    assert view.retraining() == {"retrain": 3, "seeds": 3, **tally}
    assert view.cost_so_far()["evaluations"] == 15
    row = view.row(view.front()[0].number)
    assert row.evaluation is not None
    assert row.evaluation.metrics["top1"] == helpers.score(row.architecture), "what is exported"
    mean, spread = fmean(scores[row.number]), stdev(scores[row.number])
    words = f"again with 3 fresh seeds, it had top1 {mean:.4f} (standard deviation between"
    assert f"{words} fresh seeds {spread:.4f})." in card(view, row)
    other = next(row for row in view.finished if not row.fresh)
    assert "Trained again" not in card(view, other)
    assert "flatters; `hybridnas evaluate PATH_OF_THIS_FOLDER --split test` scores" in card(
        view, other
    )
    alone = tmp_path / "alone"  # data of two splits
    for split in ("train", "val"):
        (alone / split).mkdir(parents=True)
    own = view.study.task.model_copy(update={"data": str(alone)})
    view.study = view.study.model_copy(update={"task": own})
    assert "split `val`, so the score flatters; the data have no other." in card(view, other)


def test_a_finalist_whose_retrainings_all_failed_is_out(study_store: Store) -> None:
    core = helpers.start(helpers.plan(**STUDY), study_store)
    for _ in range(6):
        helpers.finish(core, helpers.asked(core))
    out = None
    while (candidate := core.ask()) is not None:
        out = candidate.number if out is None else out
        helpers.finish(core, candidate, **(FAILED if candidate.number == out else {}))
    view = StudyView("shapes", study_store)
    assert len(view.retrained) == 2
    assert out not in {row.number for row in view.judged}
    assert view.failures() == {"out_of_memory": 3}


def test_a_retrained_study_may_be_resumed(study_store: Store) -> None:
    plan = helpers.plan(**STUDY)
    core = helpers.start(plan, study_store)
    helpers.drive(core)
    assert check_registered(plan, study_store, resume=True)
    other = helpers.plan(**{**STUDY, "seed": 5})
    with pytest.raises(ConfigError, match="seed"):
        check_registered(other, study_store, resume=True)


def test_who_was_trained_again_when_the_driver_died_does_not_run(study_store: Store) -> None:
    core = begin(study_store)
    for _ in range(10):
        finish(core, helpers.asked(core))
    left = [helpers.asked(core) for _ in range(3)]
    for candidate in left:
        assert candidate.repeat == 1
        assert study_store.take_up(candidate.token, "node7, GPU 3")
    core = begin(study_store)  # of a driver that goes on
    assert {r.number for r in study_store.trials("tabular") if r.reason} == {
        candidate.number for candidate in left
    }
    again = helpers.asked(core)
    assert (again.number, again.repeat) == (left[0].number, 1)
    record = study_store.trial("tabular", again.number)
    assert record is not None
    assert (record.reason, record.worker) == (None, None)
    assert record.leased is not None
