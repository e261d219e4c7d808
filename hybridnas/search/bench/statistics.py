"""Means over seeds with 95 % intervals: of each sampler, of paired differences, and of how many
trainings one needs to equal another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit  # scipy.stats takes a second to import

Floats = NDArray[np.float64]

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the ends of its 95 % interval; None where nothing tells of it: one seed does
    not, and of a mean seeds that all agree do not, whose luck is to be alike."""

    value: float
    low: float | None
    high: float | None


def mean_curve(curves: Floats, within: tuple[float, float] = (-np.inf, np.inf)) -> list[Interval]:
    """The mean over seeds after each training. curves: (seeds, trainings). within: what a mean can
    be; an interval is cut there, which costs it nothing of its level.

    Student's t (Biometrika 6, 1908): the percentiles of a bootstrap are too narrow for few seeds,
    of two they are the two.
    """
    number, means = len(curves), curves.mean(axis=0)
    if number < 2:
        return [Interval(float(mean), None, None) for mean in means]
    margins = stdtrit(number - 1, 0.975) * curves.std(axis=0, ddof=1) / np.sqrt(number)
    lows, highs = (np.clip(means + sign * margins, *within) for sign in (-1, 1))
    alike = np.ptp(curves, axis=0) <= 1e-12 * np.maximum(1.0, np.abs(means))
    return [
        Interval(float(mean), *((None, None) if same else (float(low), float(high))))
        for mean, low, high, same in zip(means, lows, highs, alike, strict=True)
    ]


def paired_difference(left: Floats, right: Floats) -> Interval:
    """Of means, left less right, seed by seed. (seeds,) each; the first ones that both have."""
    number = min(len(left), len(right))
    (found,) = mean_curve((left[:number] - right[:number])[:, None])
    return found


def trainings_to_equal(curves: Floats, target: Floats) -> Interval:
    """After how many trainings the mean reaches that of target; infinite: not in these.

    curves: (seeds, trainings); target: (seeds,), of the same seeds; the first ones that both have.
    The interval: 2.5 and 97.5 % quantiles of the bootstrap (Efron and Tibshirani, An Introduction
    to the Bootstrap, 1993, chapter 13), since a number of trainings has no t.
    """
    number = min(len(curves), len(target))
    weights = np.vstack([np.full(number, 1 / number), _resampled(number)])
    reached = weights @ curves[:number] >= (weights @ target[:number])[:, None] - 1e-9
    first = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)
    if number < 2:
        return Interval(float(first[0]), None, None)
    low, high = np.quantile(first[1:], [0.025, 0.975], method="inverted_cdf")
    return Interval(float(first[0]), float(low), float(high))


def _resampled(number: int) -> Floats:
    """(RESAMPLES, number): how much each seed counts in a resample, the same at every call."""
    rng = np.random.default_rng(0)
    return rng.multinomial(number, np.full(number, 1 / number), RESAMPLES) / number
