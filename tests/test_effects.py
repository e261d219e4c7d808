"""Effects over paired seeds: against scipy, published tables, and simulations of a known truth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from scipy.stats import binom, ttest_rel
from scipy.stats import t as student

from hybridnas.ablate.effects import MOST_SEEDS, POWER, Effect, effect, seeds_needed

SIMULATIONS = 1000


def known(differences: Iterable[float], family: int = 1) -> Effect:
    found = effect(list(differences), family)
    assert found is not None
    return found


@pytest.mark.parametrize("family", [1, 2, 5])
@pytest.mark.parametrize("number", [2, 5, 12])
def test_the_interval_is_the_paired_t_s_at_bonferroni_s_level(number: int, family: int) -> None:
    rng = np.random.default_rng(number)
    original, twin = rng.normal(0.7, 0.02, (2, number))
    found = known(original - twin, family)
    theirs = ttest_rel(original, twin)
    low, high = theirs.confidence_interval(1 - 0.05 / family)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.seeds, found.family) == (number, family)
    assert (found.verdict == "unknown") == (theirs.pvalue * family > 0.05)
    assert found.half_width == pytest.approx((high - low) / 2)


@pytest.mark.parametrize(("size", "seeds"), [(0.3, 90), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_published_tables(size: float, seeds: int) -> None:
    """Two-sided paired t test, level 0.05, power 0.8, as G*Power 3.1 has them."""
    assert seeds_needed(size) == seeds_needed(-size) == seeds


def test_seeds_needed_by_simulation() -> None:
    size, family = 1.2, 4
    number = seeds_needed(size, family)
    assert number is not None
    rng = np.random.default_rng(0)
    for seeds, enough in ((number, True), (number - 1, False)):
        draws = rng.normal(size, 1, (20_000, seeds))
        t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / seeds**0.5)
        share = (np.abs(t) > student.isf(0.05 / family / 2, seeds - 1)).mean()
        assert (share > POWER - 0.008) if enough else (share < POWER + 0.008)


def test_small_effects_need_more_than_anybody_trains() -> None:
    assert seeds_needed(0.1) is None
    assert seeds_needed(0.0) is None
    last = seeds_needed(0.285)
    assert last is not None
    assert MOST_SEEDS - 5 < last <= MOST_SEEDS


def test_what_was_not_enough_is_never_said_to_be() -> None:
    rng = np.random.default_rng(1)
    for number in (2, 3, 5, 9):
        for family in (1, 3, 9):
            for draw in rng.normal(0.8, 1, (100, number)):
                found = known(draw, family)
                if found.verdict == "unknown":
                    assert found.seeds_needed is None or found.seeds_needed > number
                else:
                    assert found.seeds_needed is None


def test_too_little_for_an_interval() -> None:
    assert effect([]) is None
    one, equal = known([0.1]), known([0.1, 0.1, 0.1])
    for found in (one, equal):
        assert found.value == pytest.approx(0.1)
        assert (found.low, found.high, found.verdict) == (None, None, "unknown")
    assert (one.sd, equal.sd) == (None, 0.0)


def simulated(effects: list[float], seeds: int, rng: np.random.Generator) -> list[Effect]:
    """An evaluator of known effects: seeds move original and twins together, noise each."""
    of_seed = rng.normal(0.7, 0.03, seeds)
    noise = rng.normal(0, 0.01, (1 + len(effects), seeds))
    original = of_seed + noise[0]
    scores = [of_seed - gain + own for gain, own in zip(effects, noise[1:], strict=True)]
    return [known(original - twin, len(effects)) for twin in scores]


def within_chance(count: int, share: float) -> bool:
    """Whether a count of the simulations is what a share of that size gives in 99.9 % of cases."""
    low, high = binom.interval(0.999, SIMULATIONS, share)
    return bool(low <= count <= high)


def covers(found: Effect, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low <= truth <= found.high


@pytest.mark.parametrize("seeds", [3, 5])
def test_one_interval_holds_the_truth_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    found = [simulated([0.012], seeds, rng)[0] for _ in range(SIMULATIONS)]
    assert within_chance(sum(covers(one, 0.012) for one in found), 0.95)
    # Who claims the wrong side is rarer still.
    assert sum(one.verdict == "twin" for one in found) <= binom.ppf(0.999, SIMULATIONS, 0.025)


def test_several_hold_the_truth_together() -> None:
    """Four stages: intervals share the original's noise, so Bonferroni may only be too wide."""
    truth, rng = [0.0, 0.02, -0.01, 0.005], np.random.default_rng(7)
    together = each = wrong = 0
    for _ in range(SIMULATIONS):
        found = simulated(truth, 5, rng)
        held = [covers(one, gain) for one, gain in zip(found, truth, strict=True)]
        together += all(held)
        each += held[0]
        wrong += any(
            one.verdict == ("original" if gain <= 0 else "twin")
            for one, gain in zip(found, truth, strict=True)
        )
    assert within_chance(each, 1 - 0.05 / 4)
    assert together >= binom.ppf(0.001, SIMULATIONS, 0.95)
    assert wrong <= binom.ppf(0.999, SIMULATIONS, 0.05)


def test_without_any_effect_claims_are_rare_in_the_family() -> None:
    rng = np.random.default_rng(11)
    claims = sum(
        any(one.verdict != "unknown" for one in simulated([0.0] * 4, 5, rng))
        for _ in range(SIMULATIONS)
    )
    assert claims <= binom.ppf(0.999, SIMULATIONS, 0.05)
    assert claims > 0
