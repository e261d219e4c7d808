"""Intervals of means over seeds, of paired differences, and of trainings to equal another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from hybridnas.search.bench.statistics import (
    Interval,
    mean_curve,
    paired_difference,
    trainings_to_equal,
)


@pytest.mark.parametrize("seeds", [2, 5, 30])
def test_intervals_hold_the_mean_as_often_as_they_say(seeds: int) -> None:
    rng = np.random.default_rng(0)
    curves = rng.normal(5, 2, (seeds, 4000))  # 4000 studies side by side
    found = mean_curve(curves)
    held = [each.low <= 5 <= each.high for each in found if each.low and each.high]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)
    known = stats.ttest_1samp(curves[:, 0], 0.0).confidence_interval(0.95)
    assert found[0].value == pytest.approx(curves[:, 0].mean())
    assert [found[0].low, found[0].high] == pytest.approx([known.low, known.high])


def test_one_seed_has_no_interval() -> None:
    assert mean_curve(np.array([[3.0, 4.0]])) == [Interval(3, None, None), Interval(4, None, None)]
    assert trainings_to_equal(np.array([[3.0, 4.0]]), np.array([4.0])) == Interval(2, None, None)


def test_seeds_that_agree_tell_nothing_of_their_luck() -> None:
    assert mean_curve(np.array([[3.0, 4.0], [3.0, 5.0]]))[0] == Interval(3, None, None)
    assert mean_curve(np.array([[0.1 + 0.2], [0.3]]))[0].high is None, "to the last digits"
    assert paired_difference(np.array([5.0, 7.0]), np.array([4.0, 6.0])).low is None


def test_intervals_end_where_a_mean_can_be() -> None:
    """Of regrets, most of them 0, and of shares near the whole."""
    curves = np.array([[0.0, 99.0], [0.0, 100.0], [0.02, 100.0]])
    free, cut = mean_curve(curves), mean_curve(curves, within=(0, 100))
    assert free[0].low is not None
    assert free[0].low < 0
    assert (cut[0].low, cut[0].high) == (0, free[0].high)
    assert free[1].high is not None
    assert free[1].high > 100
    assert (cut[1].low, cut[1].high) == (free[1].low, 100)


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 100, 40)
    found = paired_difference(luck + 3 + rng.normal(0, 1, 40), np.append(luck, [7.0, 8.0]))
    assert found.low is not None
    assert found.high is not None
    assert 2.5 < found.low < found.value < found.high < 4


def test_trainings_to_equal() -> None:
    rise = np.tile(np.arange(1.0, 11.0), (8, 1))  # n after n trainings
    assert trainings_to_equal(rise, np.full(8, 4.0)).value == 4
    assert trainings_to_equal(rise, np.full(8, 3.5)).value == 4
    never = trainings_to_equal(rise, np.full(9, 11.0))
    assert (never.value, never.low, never.high) == (np.inf, np.inf, np.inf)
    spread = trainings_to_equal(rise, np.array([1.0, 7.0] * 4))
    assert spread.low is not None
    assert spread.high is not None
    assert spread.low < spread.value == 4 < spread.high
