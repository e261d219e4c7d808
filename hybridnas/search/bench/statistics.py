"""Means over seeds with bootstrap intervals: of each sampler, of paired differences, and of how
many trainings one needs to equal another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 10_000


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and the 2.5 and 97.5 % quantiles of the bootstrap (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13)."""

    value: float
    low: float
    high: float


def mean_curve(curves: Floats) -> list[Interval]:
    """The mean over seeds after each training. curves: (seeds, trainings)."""
    drawn = _resampled(len(curves)) @ curves
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    rows = zip(curves.mean(axis=0), low, high, strict=True)
    return [Interval(float(v), float(lo), float(hi)) for v, lo, hi in rows]


def paired_difference(left: Floats, right: Floats) -> Interval:
    """Of means, left less right, seed by seed. (seeds,) each; the first ones that both have."""
    number = min(len(left), len(right))
    (found,) = mean_curve((left[:number] - right[:number])[:, None])
    return found


def trainings_to_equal(curves: Floats, target: Floats) -> Interval:
    """After how many trainings the mean reaches that of target; infinite: not in these.

    curves: (seeds, trainings); target: (seeds,), of the same seeds; the first ones that both have.
    """
    number = min(len(curves), len(target))
    weights = np.vstack([np.full(number, 1 / number), _resampled(number)])
    reached = weights @ curves[:number] >= (weights @ target[:number])[:, None] - 1e-9
    first = np.where(reached.any(axis=1), reached.argmax(axis=1) + 1.0, np.inf)
    low, high = np.quantile(first[1:], [0.025, 0.975], method="inverted_cdf")
    return Interval(float(first[0]), float(low), float(high))


def _resampled(number: int) -> Floats:
    """(RESAMPLES, number): how much each seed counts in a resample, the same at every call."""
    rng = np.random.default_rng(0)
    return rng.multinomial(number, np.full(number, 1 / number), RESAMPLES) / number
