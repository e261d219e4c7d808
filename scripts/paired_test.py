"""Whether one set of networks is better than others on the same images, over seeds and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Right = NDArray[np.float64]  # (seeds, images): 1 where a network's answer is right


@dataclass(frozen=True, slots=True)
class Difference:
    """better: of means, of the first less the second. low, high: its interval of 95 % for all
    comparisons together (Bonferroni). p: two-sided; after Holm's correction (1979)."""

    first: str
    second: str
    better: float
    low: float
    high: float
    p: float


def differences(
    right: Mapping[str, Right],
    pairs: Sequence[tuple[str, str]],
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> list[Difference]:
    """Bootstrap over both sources of chance: images, the same for both networks of a pair, and the
    seeds of each network (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 8).
    """
    rng = np.random.default_rng(seed)
    found = []
    for first, second in pairs:
        a, b = right[first], right[second]
        images = rng.integers(0, a.shape[1], (resamples, a.shape[1]))
        counts = np.zeros((resamples, a.shape[1]))
        np.add.at(counts, (np.arange(resamples)[:, None], images), 1)
        drawn = _drawn(a, counts, rng) - _drawn(b, counts, rng)
        tail = 0.025 / len(pairs)
        low, high = np.quantile(drawn, [tail, 1 - tail])
        # One draw is counted as more extreme: no p of 0 from so many.
        p = 2 * (min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1) / (resamples + 1)
        found.append((first, second, float(a.mean() - b.mean()), float(low), float(high), p))
    corrected = holm([row[-1] for row in found])
    return [Difference(*row[:-1], p) for row, p in zip(found, corrected, strict=True)]


def _drawn(right: Right, counts: NDArray[np.float64], rng: np.random.Generator) -> Right:
    """(resamples,) means of a network's answers, its seeds drawn anew as well as the images."""
    seeds, images = right.shape
    by_seed = counts @ right.T / images  # (resamples, seeds)
    chosen = rng.integers(0, seeds, (len(counts), seeds))
    return np.take_along_axis(by_seed, chosen, axis=1).mean(axis=1)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for how many there are (Holm, 1979), in the order given."""
    order = np.argsort(p_values)
    number, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (number - place) * p_values[index]))
        corrected[index] = largest
    return corrected
