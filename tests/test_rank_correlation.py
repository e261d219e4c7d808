"""Kendall's tau, overall and at equal MACs, against definitions and known truths."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import kendalltau

from hybridnas.rank_correlation import FEWEST, Floats, tau_with_interval


def tau_b(x: Floats, y: Floats) -> float:
    """The definition: concordant less discordant pairs, over pairs that are not tied."""
    pairs = list(itertools.combinations(range(len(x)), 2))
    dx = np.array([np.sign(x[i] - x[j]) for i, j in pairs])
    dy = np.array([np.sign(y[i] - y[j]) for i, j in pairs])
    return float((dx * dy).sum() / np.sqrt((dx**2).sum() * (dy**2).sum()))


@pytest.mark.parametrize("ties", [False, True])
def test_tau_is_that_of_the_definition(ties: bool) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30))
    y = y + x
    if ties:
        x, y = x.round(), y.round()
    found = tau_with_interval(x, y, resamples=200)
    assert found is not None
    assert found.tau == pytest.approx(tau_b(x, y)) == pytest.approx(kendalltau(x, y).statistic)
    assert found.low < found.tau < found.high
    assert found == tau_with_interval(x, y, resamples=200)


def test_extremes() -> None:
    x = np.arange(10.0)
    found = tau_with_interval(x, x**3)
    assert found is not None
    assert (found.tau, found.low, found.high) == (1, 1, 1)
    found = tau_with_interval(x, -x)
    assert found is not None
    assert found.tau == pytest.approx(-1)
    assert tau_with_interval(x, np.ones(10)) is None


def test_equal_macs_leave_nothing_of_what_macs_alone_decide() -> None:
    macs = np.linspace(0, 3, 20)
    proxy = 1 + macs - 0.1 * macs**2
    noise = np.random.default_rng(0).normal(size=20)
    assert tau_with_interval(proxy, proxy + noise, macs) is None
    one = tau_with_interval(noise + 5 * macs, noise - 5 * macs, macs)
    assert one is not None  # opposite trends over the same rest
    assert one.tau == pytest.approx(1)


def test_macs_are_told_apart_from_architecture() -> None:
    """The order by scores is that by MACs; at equal MACs both scores are independent."""
    rng = np.random.default_rng(1)
    macs = rng.uniform(0, 3, 400)
    proxy, judge = 3 * macs + rng.normal(size=(2, 400))
    overall = tau_with_interval(proxy, judge, resamples=100)
    equal = tau_with_interval(proxy, judge, macs, resamples=100)
    assert overall is not None
    assert equal is not None
    assert overall.tau > 0.6
    assert equal.low < 0 < equal.high
    assert abs(equal.tau) < 0.1


@pytest.mark.parametrize("number", [FEWEST, 24])
@pytest.mark.parametrize("at_equal_macs", [False, True])
def test_the_interval_covers_the_truth(at_equal_macs: bool, number: int) -> None:
    """Normal scores of correlation r have tau 2 / pi arcsin r (Kendall, 1938); 95 % of the
    intervals should hold it."""
    rng, r, covered, taus = np.random.default_rng(2), 0.8, 0, []
    truth = 2 / np.pi * np.arcsin(r)
    for _ in range(40):
        x, noise = rng.normal(size=(2, number))
        y = r * x + np.sqrt(1 - r**2) * noise
        macs = rng.uniform(0, 2, number)
        trend = 2 * macs - 0.3 * macs**2
        given = macs if at_equal_macs else None
        shift = trend if at_equal_macs else 0.0
        found = tau_with_interval(x + shift, y + 2 * shift, given, resamples=100)
        assert found is not None
        covered += found.low <= truth <= found.high
        taus.append(found.tau)
    assert covered >= 35
    assert np.mean(taus) == pytest.approx(truth, abs=0.06)
