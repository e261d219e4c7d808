"""Expected hypervolume improvement: against exact hypervolumes, and Monte Carlo over them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from hybridnas.pareto import hypervolume
from hybridnas.search.samplers import ehvi
from hybridnas.search.samplers.ehvi import (
    Floats,
    expected_hypervolume_improvement,
    expected_improvement,
)

WORST = 0.9


def problem(num_costs: int, seed: int, size: int = 7) -> tuple[Floats, Floats, Floats]:
    """Losses and costs of a front, some of it dominated, some beyond the reference; limits."""
    rng = np.random.default_rng(seed)
    return rng.random(size), 1.1 * rng.random((size, num_costs)), np.ones(num_costs)


def gain(loss: float, cost: Floats, losses: Floats, costs: Floats, limits: Floats) -> float:
    """What one more point adds, by two exact hypervolumes."""
    reference = np.append(WORST, limits)
    front = np.column_stack([losses, costs])
    more = np.vstack([front, np.append(loss, cost)])
    return hypervolume(more, reference) - hypervolume(front, reference)


def test_expected_improvement_is_its_integral() -> None:
    for best, mean, sd in [(0.5, 0.4, 0.2), (0.5, 0.9, 0.2), (0.1, 0.1, 1.0), (0.5, 0.8, 0.05)]:
        integral, _ = quad(
            lambda y, m=mean, s=sd, b=best: (b - y) * norm.pdf(y, m, s), mean - 12 * sd, best
        )
        found = expected_improvement(np.array(best), np.array(mean), np.array(sd))
        assert found == pytest.approx(integral, rel=1e-6)


@pytest.mark.parametrize("num_costs", [0, 1, 2, 3])
def test_without_doubt_it_is_the_hypervolume_that_a_point_adds(num_costs: int) -> None:
    losses, costs, limits = problem(num_costs, seed=num_costs)
    rng = np.random.default_rng(10)
    mean, at = rng.random(40), 1.2 * rng.random((40, num_costs))
    found = expected_hypervolume_improvement(mean, np.zeros(40), at, losses, costs, WORST, limits)
    wanted = [gain(y, cost, losses, costs, limits) for y, cost in zip(mean, at, strict=True)]
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert np.count_nonzero(found) > 0 or num_costs == 0


@pytest.mark.parametrize("num_costs", [0, 1, 2])
def test_it_is_the_mean_over_what_may_come(num_costs: int) -> None:
    losses, costs, limits = problem(num_costs, seed=20 + num_costs)
    rng = np.random.default_rng(30)
    mean, sd, at = rng.random(3), 0.3 * rng.random(3), rng.random((3, num_costs))
    found = expected_hypervolume_improvement(mean, sd, at, losses, costs, WORST, limits)
    for index, cost in enumerate(at):
        draws = mean[index] + sd[index] * rng.standard_normal(500)
        gains = np.array([gain(y, cost, losses, costs, limits) for y in draws])
        error = gains.std() / np.sqrt(len(gains))
        assert abs(found[index] - gains.mean()) < 4 * error + 1e-6


@pytest.mark.parametrize("num_costs", [0, 1, 2])
def test_an_empty_front_leaves_all_to_gain(num_costs: int) -> None:
    limits = np.full(num_costs, 2.0)
    at = np.full((1, num_costs), 0.5)
    none = np.empty(0), np.empty((0, num_costs))
    found = expected_hypervolume_improvement(np.array([0.4]), np.zeros(1), at, *none, WORST, limits)
    assert found == pytest.approx([0.5 * 1.5**num_costs])


def test_many_candidates_are_worth_what_each_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ehvi, "_CHUNK", 100)
    losses, costs, limits = problem(2, seed=3)
    rng = np.random.default_rng(4)
    mean, sd, at = rng.random(50), rng.random(50), rng.random((50, 2))
    together = expected_hypervolume_improvement(mean, sd, at, losses, costs, WORST, limits)
    alone = [
        expected_hypervolume_improvement(mean[i], sd[i], at[i], losses, costs, WORST, limits)
        for i in (slice(i, i + 1) for i in range(50))
    ]
    np.testing.assert_allclose(together, np.concatenate(alone))
