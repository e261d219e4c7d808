"""Rungs chained into one prediction of the top."""

from __future__ import annotations

import numpy as np
import pytest

from hybridnas.search.samplers import surrogate as surrogate_module
from hybridnas.search.samplers.gp import (
    Floats,
    Hyperparameters,
    Inputs,
    Ints,
    Posterior,
    fit,
)
from hybridnas.search.samplers.surrogate import (
    RungResults,
    SurrogateFactory,
    clipped,
    refit_size,
)

CHOICES = np.array([4, 3, 3, 2])


def inputs(number: int, seed: int) -> Inputs:
    rng = np.random.default_rng(seed)
    return Inputs(rng.integers(CHOICES, size=(number, 4)), rng.normal(size=(number, 1)))


def low(of: Inputs, noise: float = 0.0, seed: int = 0) -> Floats:
    first, second, third, _ = of.categories.T
    drawn = np.random.default_rng(seed).normal(size=len(of))
    return 0.1 * first + 0.2 * (second == third) + 0.05 * of.regressors[:, 0] + noise * drawn


def top(of: Inputs) -> Floats:
    """Another scale, and a gene that the lower rung does not show."""
    return 3 * low(of) + 0.1 * of.categories[:, 3]


def results(of: Inputs, losses: Floats) -> RungResults:
    return RungResults(of, losses, inputs(0, 0))


def test_a_lower_rung_foretells_the_top() -> None:
    many, few, asked = inputs(80, 1), inputs(10, 2), inputs(60, 3)
    both = [results(many, low(many, 0.01)), results(few, top(few))]
    chained = SurrogateFactory(CHOICES).build(both).mean(asked)
    alone = SurrogateFactory(CHOICES).build(both[1:]).mean(asked)
    errors = [np.mean((mean - top(asked)) ** 2) / top(asked).var() for mean in (chained, alone)]
    assert errors[0] < 0.1
    assert errors[0] < 0.3 * errors[1]


def test_the_chain_is_le_gratiets_recursion() -> None:
    """Mean and variance of two rungs, put together by hand."""
    many, few, asked = inputs(40, 4), inputs(12, 5), inputs(20, 6)
    lows, tops = clipped(low(many, 0.05)), clipped(top(few))
    first = list(range(38))
    below = Posterior(many, lows, CHOICES, fit(many[first], clipped(low(many, 0.05)[:38]), CHOICES))
    told = Inputs(few.categories, np.column_stack([few.regressors, below.mean(few)]))
    number = refit_size(12)
    hyper = fit(told[list(range(number))], clipped(top(few)[:number]), CHOICES)
    above = Posterior(told, tops, CHOICES, hyper)
    mean, variance = below.predict(asked)
    asked_above = Inputs(asked.categories, np.column_stack([asked.regressors, mean]))
    wanted, own = above.predict(asked_above)
    both = [results(many, low(many, 0.05)), results(few, top(few))]
    chained = SurrogateFactory(CHOICES).build(both)
    found, spread = chained.predict(asked)
    assert refit_size(40) == 38
    np.testing.assert_allclose(found, wanted)
    np.testing.assert_allclose(spread, own + above.slopes()[-1] ** 2 * variance)
    np.testing.assert_allclose(chained.mean(asked), wanted)


def test_hyperparameters_follow_from_the_number_of_results(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[int] = []

    def counted(of: Inputs, losses: Floats, choices: Ints) -> Hyperparameters:
        fitted.append(len(of))
        return fit(of, losses, choices, max_steps=2)

    monkeypatch.setattr(surrogate_module, "fit", counted)
    many, factory = inputs(30, 7), SurrogateFactory(CHOICES)
    for number in range(5, 31):
        some = many[list(range(number))]
        factory.build([results(some, low(some))])
    assert fitted == [2, 8, 14, 20, 26]
    sizes = [refit_size(number) for number in range(2, 1000)]
    behind = [number - size for number, size in zip(range(2, 1000), sizes, strict=True)]
    assert all(late < max(6, number / 16 + 1) for number, late in enumerate(behind, 2))
    assert len(set(sizes)) < 60


def test_outliers_are_brought_to_the_outer_fence() -> None:
    losses = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 9.0])
    upper = np.percentile(losses, 75) + 3 * np.subtract(*np.percentile(losses, [75, 25]))
    np.testing.assert_allclose(clipped(losses), [0.1, 0.2, 0.3, 0.4, 0.5, upper])
    assert upper < 9
