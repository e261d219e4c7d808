"""The effect of a replacement: paired differences over seeds, and how sure they are.

The k-th training of original and twin share a seed, so that the difference of their scores is
taken seed by seed: a paired t interval (Student, Biometrika 6, 1908). Of several effects each gets
Bonferroni's level (Dunn, JASA 56, 1961): all the intervals together hold the truth in 95 % of
cases, and an effect is claimed exactly where its interval leaves 0 out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import nctdtr, stdtrit  # scipy.stats takes a second to import

CONFIDENCE = 0.95  # of all intervals of a family together
POWER = 0.8
MOST_SEEDS = 100  # that a forecast is given for

Verdict = Literal["original", "twin", "unknown"]


@dataclass(frozen=True, slots=True)
class Effect:
    """How much better the original scores than its twin, in the score's unit.

    value: mean of the differences; sd: their standard deviation. low, high: the interval; None
    where there is none: of fewer than two differences, and of differences that are all equal, which
    tell nothing of the noise. seeds: how many differences. family: how many effects share the
    confidence. seeds_needed: of an effect that is not told apart from 0, how many seeds would do,
    were it as large as it seems (`seeds_needed`).
    """

    value: float
    sd: float | None
    low: float | None
    high: float | None
    seeds: int
    family: int
    seeds_needed: int | None

    @property
    def verdict(self) -> Verdict:
        """Which of the two is better; unknown where the interval holds 0, or there is none."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "unknown"
        return "original" if self.value > 0 else "twin"

    @property
    def half_width(self) -> float | None:
        return None if self.high is None else self.high - self.value


def effect(differences: Sequence[float], family: int = 1) -> Effect | None:
    """The effect that differences, one a seed, speak for; None of no difference at all."""
    number = len(differences)
    if number == 0:
        return None
    value = float(np.mean(differences))
    if number == 1 or np.ptp(differences) <= 1e-12 * max(1.0, abs(value)):
        sd = None if number == 1 else 0.0
        return Effect(value, sd, None, None, number, family, None)
    sd = float(np.std(differences, ddof=1))
    half = float(_critical(number, family)) * sd / number**0.5
    low, high = value - half, value + half
    needed = seeds_needed(value / sd, family) if low <= 0 <= high else None
    return Effect(value, sd, low, high, number, family, needed)


def seeds_needed(size: float, family: int = 1) -> int | None:
    """The fewest seeds with which the paired t test would tell an effect apart from 0 in 80 % of
    cases, at its level in the family.

    size: of the effect, mean over standard deviation of the differences. The power is exact, by the
    noncentral t (Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 2).
    None: more than MOST_SEEDS.
    """
    numbers = np.arange(2, MOST_SEEDS + 1)
    critical = _critical(numbers, family)
    shift = abs(size) * np.sqrt(numbers)
    below, above = (nctdtr(numbers - 1, shift, edge) for edge in (-critical, critical))
    power = below + 1 - above
    enough = numbers[power >= POWER]
    return int(enough[0]) if len(enough) else None


def _critical(number: int | np.ndarray, family: int) -> float | np.ndarray:
    """Student's t, two-sided, at one effect's level in the family."""
    return stdtrit(number - 1, 1 - (1 - CONFIDENCE) / (2 * family))
