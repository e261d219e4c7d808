"""Constraints on what is measured: who breaks one was trained, is told so, and is on no front."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from table_helpers import begin, evaluated, problem

from hybridnas.config import Bound, Budget, Final, Sampler
from hybridnas.pareto import non_dominated
from hybridnas.search.core import SearchCore
from hybridnas.search.local import run_here
from hybridnas.search.observer import Candidate
from hybridnas.search.samplers.gp import Floats, Inputs
from hybridnas.search.samplers.soft import Kept
from hybridnas.search.samplers.surrogate import Surrogate
from hybridnas.store import Evaluation, Store

SOFT = {"top1": Bound(min=0.8), "memory_mb": Bound(max=2000)}


def measured(candidate: Candidate) -> Evaluation:
    """As the table says; MACs times 10^6 bytes of memory."""
    evaluation = evaluated(candidate)
    peak = candidate.costs["macs"] * 1e6 / 2**20
    timing = {**evaluation.timing, "gpu_peak_mib": peak + 100, "gpu_images_mib": 100.0}
    return replace(evaluation, timing=timing)


def trials_of(store: Store, study: str = "tabular") -> list[FrozenTrial]:
    return optuna.load_study(study_name=study, storage=store.optuna_storage()).trials


def mirrored(core: SearchCore) -> list[tuple[TrialState, list[float]]]:
    """What the sampler sees of each trial."""
    trials = core._proposer._study.get_trials(deepcopy=False)
    return [(trial.state, list(trial.constraints.values())) for trial in trials]


def test_optuna_and_the_dashboard_see_each_constraint_once(study_store: Store) -> None:
    core = begin(study_store, soft=SOFT)
    run_here(core, measured)
    trials = trials_of(study_store)
    for trial in trials:
        top1, macs = trial.values
        want = [macs - 4000, 1 - top1 / 0.8, macs / 2000 - 1]
        assert list(trial.constraints.values()) == pytest.approx(want)
        assert trial.system_attrs["constraints"] == list(trial.constraints.values())
        assert trial.user_attrs["memory_mb"] == pytest.approx(macs)
    kept = [t for t in trials if t.values[0] >= 0.8 and t.values[1] <= 2000]
    assert 0 < len(kept) < len(trials)
    losses = np.array([[-trial.values[0], trial.values[1]] for trial in kept])
    front = {t.number for t, on in zip(kept, non_dominated(losses), strict=True) if on}
    study = optuna.load_study(study_name="tabular", storage=study_store.optuna_storage())
    assert {trial.number for trial in study.best_trials} == front


def test_a_sampler_sees_soft_constraints_alone_and_the_same_after_a_resume(
    study_store: Store,
) -> None:
    core = begin(study_store, soft=SOFT, sampler=Sampler(name="tpe", startup_trials=5))
    run_here(core, measured)
    seen = mirrored(core)
    assert len(seen) == 20
    assert {len(constraints) for _, constraints in seen} == {2}
    again = SearchCore(problem(soft=SOFT), study_store)
    assert mirrored(again) == seen
    without = begin(study_store, name="without")
    run_here(without, measured)
    assert {len(constraints) for _, constraints in mirrored(without)} == {0}


def test_who_breaks_a_soft_constraint_is_not_trained_again_at_the_end(study_store: Store) -> None:
    retrained: set[int] = set()

    def noted(candidate: Candidate) -> Evaluation:
        if candidate.repeat:
            retrained.add(candidate.number)
        return measured(candidate)

    run_here(begin(study_store, soft=SOFT, final=Final(retrain=20, seeds=1)), noted)
    kept = {t.number for t in trials_of(study_store) if max(t.constraints.values()) <= 0}
    assert retrained == kept
    assert 0 < len(kept) < 20


@pytest.mark.parametrize(
    "asked", [{"soft": SOFT}, {"objectives": {"top1": "maximize", "memory_mb": "minimize"}}]
)
def test_an_evaluation_that_lacks_a_figure_is_made_again_not_reused(
    study_store: Store, asked: dict[str, Any]
) -> None:
    run_here(begin(study_store), evaluated)
    again = begin(study_store, name="again", **asked)
    candidate = again.ask()
    assert candidate is not None
    study_store.record(candidate.token, measured(candidate))
    again.settle(candidate.number)
    third = begin(study_store, name="third", **asked)
    other = third.ask()
    assert other is not None
    assert other.digest != candidate.digest, "this one is known with all its figures"


def test_a_trial_without_a_figure_that_is_asked_for_failed(study_store: Store) -> None:
    run_here(begin(study_store, soft=SOFT), evaluated)  # no memory was measured
    assert {trial.state for trial in trials_of(study_store)} == {TrialState.FAIL}


def test_a_sampler_that_can_learns_to_keep_them(study_store: Store) -> None:
    """Of the last 40 of 60 trials, summed over two seeds."""
    kept = {"random": 0, "tpe": 0, "ehvi": 0}
    for name, seed in itertools.product(kept, range(2)):
        study = f"{name} {seed}"
        core = begin(
            study_store,
            name=study,
            places=5,
            max_macs=1e9,
            soft={"memory_mb": Bound(max=1500)},
            budget=Budget(trials=60),
            sampler=Sampler(name=name),
            seed=seed,
        )
        run_here(core, measured)
        last = trials_of(study_store, study)[20:]
        kept[name] += sum(max(trial.constraints.values()) <= 0 for trial in last)
    assert kept["tpe"] > 1.3 * kept["random"]
    assert kept["ehvi"] > 1.3 * kept["random"]


class Guess(Surrogate):
    """The same mean and variance for whatever it is asked, a pair an architecture."""

    def __init__(self, mean: list[float], variance: list[float]) -> None:
        self.pair = np.array(mean), np.array(variance)

    def predict(self, inputs: Inputs) -> tuple[Floats, Floats]:
        return self.pair

    def mean(self, inputs: Inputs) -> Floats:
        return self.pair[0]


def test_the_probability_that_all_constraints_are_kept() -> None:
    three = Inputs(np.zeros((3, 1), dtype=np.int64), np.zeros((3, 0)))
    means, variances = [[-0.1, 0.2, 0.0], [-0.3, -0.3, -1.0]], [[0.01, 0.04, 1.0], [0.09, 0.0, 1.0]]
    kept = Kept([Guess(*pair) for pair in zip(means, variances, strict=True)])
    random = np.random.default_rng(0)
    draws = np.array(
        [random.normal(m, np.sqrt(v), (10**6, 3)) for m, v in zip(means, variances, strict=True)]
    )
    monte_carlo = (draws <= 0).all(axis=0).mean(axis=0)
    assert kept.probability(three) == pytest.approx(monte_carlo, abs=2e-3)
    assert kept.expected(three).tolist() == [True, False, True]
    assert Kept([]).probability(three).tolist() == [1, 1, 1]
