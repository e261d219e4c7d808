"""The command line on a study of two rungs with a final retraining: before, while and after."""

from __future__ import annotations

import csv
import io
import socket
from pathlib import Path
from typing import Any

import optuna
import pytest
import search_helpers as helpers
from cli_helpers import DATABASE, Cli, write_study
from optuna.trial import TrialState

from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

RUNGS = [{"epochs": 1, "resolution": 16}, {"epochs": 2, "resolution": 32}]
LADDER: dict[str, Any] = {
    "space": helpers.LISTED,
    "fidelities": RUNGS,
    "halving": {"shares": [0.25, 0.75]},
    "budget": {"trials": 8},
    "final": {"retrain": 2, "seeds": 2},
}


@pytest.fixture
def searched(cli: Cli) -> Cli:
    """A database of the study, searched to its end with made-up results."""
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(helpers.plan(**LADDER), store)
        while (candidate := core.ask()) is not None:
            top1 = helpers.score(helpers.network(candidate)) - 0.01 * candidate.repeat
            helpers.finish(core, candidate, metrics={"top1": top1, **candidate.recorded})
        core.close()
    return cli


def test_the_dry_run_says_what_each_rung_sees(cli: Cli) -> None:
    found = cli.json("search", write_study(**LADDER), "--dry-run")
    assert [rung["candidates"] for rung in found["fidelities"]] == [8, 3]
    assert found["rates"] == [3 / 8]
    assert found["final"] == {"retrain": 2, "seeds": 2}
    shown = cli.shown("search", write_study(**LADDER), "--dry-run")
    assert "; 8 candidates, 3 of them go on\n" in shown
    assert "; 3 candidates, whose scores count\n" in shown
    shown = " ".join(shown.split())
    assert "the best 2 (front by front, the least crowded first) again with 2 fresh seeds" in shown
    by_time = write_study(**{**LADDER, "budget": {"hours": 1}})
    shown = cli.shown("search", by_time, "--dry-run")
    assert "; 38 % go on\n" in shown
    assert "; whose scores count\n" in shown
    assert cli.json("search", by_time, "--dry-run")["fidelities"][1]["candidates"] is None
    assert "go on" not in cli.shown("search", write_study(), "--dry-run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"halving": {"shares": [1.0]}}, "halving.shares: give one a rung (2), got 1"),
        ({"halving": {"eta": 4}}, "unknown key 'halving.eta'; allowed: shares"),
        ({"final": {"seeds": 2}}, "'final.retrain' is missing"),
        ({"final": {"retrain": 0}}, "final.retrain: must be greater than 0, got 0"),
    ],
)
def test_what_is_no_ladder(changes: dict[str, Any], message: str, cli: Cli) -> None:
    assert message in cli.refused("search", write_study(**{**LADDER, **changes}), "--dry-run")


def test_status_counts_by_rung(searched: Cli) -> None:
    found = searched.json("status", "shapes")
    assert found["trials"] == {"ok": 3, "pruned": 5}
    tallies = [(rung["began"], rung["ok"], rung["reused"]) for rung in found["rungs"]]
    assert tallies == [(8, 8, 0), (3, 3, 0)]
    assert [rung["fidelity"] for rung in found["rungs"]] == RUNGS
    assert (found["retraining"]["began"], found["retraining"]["ok"]) == (4, 4)
    assert (found["cost"]["evaluations"], found["reused"]) == (15, 0)
    assert found["rungs"][0]["gpu_hours"] == pytest.approx(8 / 60)
    shown = searched.shown("status", "shapes")
    assert "rungs 1 epoch at 16 px: 8 began, 8 ok, 0 failed, 0 reused, 8 min of GPU time" in shown
    assert "2 epochs at 32 px: 3 began, 3 ok, 0 failed, 0 reused, 3 min of GPU time" in shown
    assert "retraining the best 2 again at the end, 2 fresh seeds each: 4 began, 4 ok" in shown


def test_what_another_study_trained_is_shown_as_reused(searched: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(helpers.plan(**{**LADDER, "name": "second"}), store)
        assert helpers.drive(core) == [], "all of it was known, the retrainings, too"
        core.close()
    found = searched.json("status", "second")
    assert found["reused"] == 15
    assert [rung["reused"] for rung in found["rungs"]] == [8, 3]
    assert found["retraining"]["reused"] == 4
    assert found["cost"]["gpu_hours"] == 0
    assert "0 trainings; 15 more were known before" in searched.shown("status", "second")
    front = searched.json("pareto", "second")
    assert all(member["reused"] for member in front)
    first = searched.json("pareto", "shapes")
    assert [{**member, "reused": False} for member in front] == first


def test_the_front_has_means_and_spreads(searched: Cli) -> None:
    found = searched.json("pareto", "shapes")
    assert {member["seeds"] for member in found} == {2}
    for member in found:
        assert member["spread"]["top1"] == pytest.approx(0.01 / 2**0.5)
    table = list(csv.DictReader(io.StringIO(searched("pareto", "shapes", "--csv").out)))
    assert [int(line["seeds"]) for line in table] == [2] * len(found)
    assert [float(line["top1_spread"]) for line in table] == [m["spread"]["top1"] for m in found]
    assert [float(line["top1"]) for line in table] == [m["values"]["top1"] for m in found]
    shown = searched.shown("pareto", "shapes")
    assert f"Pareto front of shapes: {len(found)} of 2 retrained (of 3 results)" in shown
    assert f"│ {found[0]['values']['top1']:.4f} │ 0.0071 │ " in shown
    assert "means over fresh seeds, +- the standard deviation between fresh seeds\n" in shown


def test_a_plot_says_which_scores_are_the_search_s(
    searched: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # words as words
    searched.shown("pareto", "shapes", "--plot", "front.svg")
    said = Path("front.svg").read_text()
    assert ">not retrained, or dominated<" in said
    assert ">dominated<" not in said


def test_finalists_that_break_a_limit_when_they_are_trained_again(searched: Cli) -> None:
    """The best kept it by luck: its fresh seeds, each worse by 0.01, do not."""
    best = 0.015 + max(member["values"]["top1"] for member in searched.json("pareto", "shapes"))
    strict = {"name": "strict", "constraints": {"top1": {"min": best - 0.005}}}
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(helpers.plan(**{**LADDER, **strict}), store)
        assert helpers.drive(core) == [], "all of it was known"
        core.close()
    assert searched.json("pareto", "strict") == []
    assert "None of the 1 retrained of strict keeps top1 at" in searched.shown("pareto", "strict")


def test_what_waits_is_said(cli: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(helpers.plan(**LADDER), store)
        for _ in range(3):
            helpers.finish(core, helpers.asked(core))
        promoted = helpers.asked(core)
        assert promoted.rung == 1
        store.begin_session("shapes")
    found = cli.json("status", "shapes")
    assert found["trials"] == {"waiting": 2, "running": 1}
    assert (found["running"], found["workers"]) == ([promoted.number], {})
    assert found["rungs"][1]["began"] == 1
    assert cli.json("pareto", "shapes") == []


def test_where_each_trial_runs_is_said(cli: Cli) -> None:
    ladder = {**LADDER, "resources": {"concurrent": 4}}
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(helpers.plan(**ladder), store)
        store.begin_session("shapes")
        begun = [helpers.asked(core) for _ in range(4)]
        assert "\nrunning trials 0 (1 epoch at 16 px), 1 (1" in cli.shown("status", "shapes")
        for candidate, worker in zip(begun, ("b, GPU 1", "a, GPU 0", "b, GPU 1"), strict=False):
            store.take_up(candidate.token, worker)
    shown = cli.shown("status", "shapes")
    at = "1 epoch at 16 px"
    assert f"running a, GPU 0: trial 1 ({at})\nb, GPU 1: trials 0 ({at}), 2 ({at})\n" in shown
    assert f"\nstarting: trial 3 ({at})\nqueued none" in shown


def test_what_is_trained_again_runs_too(searched: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        trial = store.trial("shapes", searched.json("pareto", "shapes")[0]["trial"])
        assert trial is not None
        again = max(trial.runs, key=lambda run: run.repeat)
        store.begin_session("shapes")
        wanted = (trial.architecture_digest, again.protocol_digest)
        token = store.lease("shapes", trial.number, *wanted, place=again.place)
        store.take_up(token, "node7")
    found = searched.json("status", "shapes")
    assert (found["running"], found["trials"].get("running")) == ([trial.number], None)
    words = f"at 32 px, seed {again.repeat})"
    shown = searched.shown("status", "shapes")
    assert f"running node7: trial {trial.number} (" in shown
    assert words in shown


# ---------------------------------------------------------------- a real one

_REAL = """
name: real
space: hybrid_small
fidelities: [{epochs: 1, resolution: 16, share: 0.2}, {epochs: 1, resolution: 16}]
halving: {shares: [0.3, 0.7]}
final: {retrain: 1, seeds: 2}
recipe: {batch_size: 64, warmup_epochs: 0}
constraints: {macs: {max: 2.0e5}}
sampler: random
budget: {trials: 5}
resources: {concurrent: 2}
"""


@pytest.mark.slow
def test_two_rungs_and_a_retraining_on_ray(cli: Cli) -> None:
    Path("real.yaml").write_text(_REAL)
    found = cli.json("search", "real.yaml")
    assert (found["stopped"], found["trials"]) == ("trials", {"pruned": 3, "ok": 2})
    assert [(rung["began"], rung["ok"]) for rung in found["rungs"]] == [(5, 5), (2, 2)]
    assert (found["retraining"]["began"], found["retraining"]["ok"]) == (2, 2)
    (member,) = found["front"]
    assert member["seeds"] == 2
    with Store.open(f"sqlite:///{DATABASE}") as store:
        study = optuna.load_study(study_name="real", storage=store.optuna_storage())
        states = [trial.state for trial in study.get_trials(deepcopy=False)]
        workers = {row.worker for row in store.trials("real")}
        runs = [(run, row.number) for row in store.trials("real") for run in row.runs]
    assert sorted(states) == [TrialState.COMPLETE] * 2 + [TrialState.PRUNED] * 3
    kept = {(run.rung, run.repeat) for run, _ in runs if run.evaluation and run.evaluation.weights}
    assert kept == {(1, 0)}, "of the top rung and the search's own seed"
    assert workers == {socket.gethostname()}
    ended = [run.evaluation for run, number in runs if number == member["trial"]]
    assert len({e.metrics["top1"] for e in ended if e}) == 4, "each training is one of its own"
