"""Two random objectives: BoTorch's acquisition on our processes, against the closed form."""

from __future__ import annotations

import importlib.util
import random

import numpy as np
import pytest
from ehvi_helpers import Search, Table, accuracy, macs, table

from hybridnas.config import Bound
from hybridnas.errors import ConfigError
from hybridnas.pareto import hypervolume
from hybridnas.search.samplers.ehvi import expected_hypervolume_improvement
from hybridnas.search.samplers.ehvi_sampler import EhviSampler
from hybridnas.search.samplers.gp import Floats, Hyperparameters, Inputs, Posterior
from hybridnas.search.samplers.surrogate import Surrogate
from hybridnas.space import Genome

TWO = {"top1": "maximize", "miou": "maximize", "macs": "minimize"}
CHOICES = np.array([3, 3, 4])


def test_without_botorch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"\(top1, miou\): pip install 'hybridnas\[botorch\]'"):
        EhviSampler(table(), TWO, 0)  # type: ignore[arg-type]
    EhviSampler(table(), {"top1": "maximize", "macs": "minimize"}, 0)


noisy_ehvi = pytest.importorskip("hybridnas.search.samplers.noisy_ehvi", reason="needs BoTorch")


@pytest.fixture(autouse=True)
def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """BoTorch compiles a part of it where it finds a compiler, which takes longer than the tests
    and computes the same."""
    monkeypatch.setenv("CXX", "no-compiler")


def inputs(number: int, seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    return Inputs(rng.integers(CHOICES, size=(number, 3)), rng.normal(size=(number, 1)))


def surrogate(seen: Inputs, seed: int, noise: float) -> Surrogate:
    rng = np.random.default_rng(seed)
    losses = 0.3 + 0.1 * rng.random(4)[seen.categories[:, 0]] + 0.05 * seen.regressors[:, 0]
    hyper = Hyperparameters(rng.random(3), rng.random(3), 0.5, noise)
    return Surrogate([Posterior(seen, losses, CHOICES, hyper)])


def test_with_one_random_objective_it_is_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noisy_ehvi, "_DRAWS", 512)
    seen, asked, rng = inputs(20, 0), inputs(70, 1), np.random.default_rng(2)
    costs, more = rng.random((20, 1)), rng.random((70, 1))
    known = surrogate(seen, 3, noise=1e-6)  # what was seen is certain, so its front is one
    mean, variance = known.predict(asked)
    front = known.mean(seen)
    worst, limits = np.array([front.max()]), np.array([1.0])
    found = noisy_ehvi.NoisyImprovement([known], seen, costs, worst, limits, seed=0)(asked, more)
    closed = expected_hypervolume_improvement(
        mean, np.sqrt(variance), more, front, costs, float(worst[0]), limits
    )
    closed /= (front.max() - front.min()) * (1.0 - costs.min())  # it scales what spans 1
    clear = closed > 0.01
    assert clear.sum() > 5
    np.testing.assert_allclose(np.exp(found[clear]), closed[clear], rtol=0.15, atol=0.005)
    assert np.exp(found[~clear]).max() < 0.03


def test_with_two_it_is_the_mean_over_joint_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fronts differ from draw to draw, since what was seen is not certain."""
    monkeypatch.setattr(noisy_ehvi, "_DRAWS", 256)
    seen, asked, rng = inputs(6, 4), inputs(4, 5), np.random.default_rng(6)
    costs, more = rng.random((6, 1)), rng.random((4, 1))
    known = [surrogate(seen, seed, noise=0.3) for seed in (7, 8)]
    means = np.column_stack([s.mean(seen) for s in known])
    worst, limits = means.max(axis=0) + 0.02, np.array([1.0])
    found = noisy_ehvi.NoisyImprovement(known, seen, costs, worst, limits, seed=0)(asked, more)
    reference = np.append(worst, limits)
    span = np.prod(reference - np.append(means.min(axis=0), costs.min()))
    for index in range(len(asked)):
        wanted = improvement_of_draws(known, seen, asked[[index]], costs, more[index], reference)
        assert np.exp(found[index]) == pytest.approx(wanted / span, rel=0.3, abs=0.015)


def improvement_of_draws(
    known: list[Surrogate],
    seen: Inputs,
    one: Inputs,
    costs: Floats,
    cost: Floats,
    reference: Floats,
    draws: int = 200,
) -> float:
    rng = np.random.default_rng(9)
    together = Inputs(
        np.concatenate([seen.categories, one.categories]),
        np.concatenate([seen.regressors, one.regressors]),
    )
    joint = [surrogate.joint(together, len(together)) for surrogate in known]
    drawn = [rng.multivariate_normal(m, c[0], draws, check_valid="ignore") for m, c in joint]
    gains = []
    for losses in zip(*drawn, strict=True):
        points = np.column_stack([*losses, np.concatenate([costs, [cost]])])
        gains.append(hypervolume(points, reference) - hypervolume(points[:-1], reference))
    return float(np.mean(gains))


def test_covariances_of_groups_are_those_of_all_together() -> None:
    seen, asked = inputs(15, 10), inputs(12, 11)
    known = surrogate(seen, 12, noise=0.1)
    mean, groups = known.joint(asked, 3)
    same, whole = known.joint(asked, 12)
    np.testing.assert_allclose(mean, same)
    for index, group in enumerate(groups):
        part = slice(3 * index, 3 * index + 3)
        np.testing.assert_allclose(group, whole[0][part, part], atol=1e-12)
    np.testing.assert_allclose(np.diag(whole[0]), known.predict(asked)[1], atol=1e-12)
    np.testing.assert_allclose(mean, known.predict(asked)[0])
    assert np.linalg.eigvalsh(whole[0]).min() > -1e-10


def test_who_may_be_on_the_front() -> None:
    rng = np.random.default_rng(13)
    means, sds, costs = rng.random((40, 2)), 0.1 * rng.random((40, 2)), rng.random((40, 1))
    found = noisy_ehvi.perhaps_on_front(means, sds, costs)
    for i in range(40):
        hoped = np.append(means[i] - 2 * sds[i], costs[i])
        others = np.hstack([means, costs])
        beaten = (others <= hoped).all(axis=1) & (others < hoped).any(axis=1)
        assert found[i] == (not beaten.any())
    assert 0 < found.sum() < 40


def miou(genome: Genome) -> float:
    """Wants other genes than the accuracy does."""
    digits = Table().categories(genome)
    return 0.3 + 0.03 * digits[3] + 0.05 * (digits[4] == 1) - 0.02 * digits[2]


@pytest.mark.parametrize("costs", [[], ["macs"]])
def test_two_measured_objectives(costs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Few proposals and draws with a cost: every draw has a front of its own, which takes time."""
    if costs:
        monkeypatch.setattr(noisy_ehvi, "_DRAWS", 16)
    hard, trials = table(macs=Bound(max=11e6)), 12 if costs else 20
    search = Search(hard, {n: d for n, d in TWO.items() if n != "macs" or costs}, seed=1)  # type: ignore[misc]

    def losses(genome: Genome) -> list[float]:
        return [-accuracy(genome), -miou(genome), *([macs(genome)] if costs else [])]

    search.values = lambda genome: [accuracy(genome), miou(genome), *losses(genome)[2:]]  # type: ignore[method-assign]
    found = search.run(trials)
    drawn = [genome for i in range(trials) if (genome := hard.draw(random.Random(i)))]
    reference = np.array([-0.5, -0.25, 11e6][: 2 + len(costs)])
    ours, theirs = (
        hypervolume(np.array([losses(genome) for genome in some]), reference)
        for some in (found, drawn)
    )
    assert ours > 1.1 * theirs
    assert len({Table().categories(genome) for genome in found}) == trials


def test_two_measured_objectives_and_a_soft_constraint(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it tries keeps the constraint, where what is better than all that keeps it does not."""
    monkeypatch.setattr(noisy_ehvi, "_DRAWS", 16)
    search, kept = Search(table(), {"top1": "maximize", "miou": "maximize"}), []
    for _ in range(24):
        number, genome = search.ask()
        excess = macs(genome) / 6e6 - 1
        search.proposer.tell(number, [accuracy(genome), miou(genome)], [excess])
        kept.append(excess <= 0)
    assert sum(kept[8:]) >= 6  # of random ones in five 1 keeps it, and blind to it none
