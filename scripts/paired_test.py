"""Whether one set of networks is better than others on the same images, over seeds and images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

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


def differences(right: Mapping[str, Right], pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """Student's t with both sources of chance: images, which both networks of a pair see, and
    seeds, which are each network's own.

    The variance of a difference of means is that between images, plus each network's between
    seeds, less what both count, the noise of single answers (a two-way random model: Roe and Metz,
    Academic Radiology, 1997); degrees of freedom by Satterthwaite (Biometrics Bulletin, 1946).
    Raises ValueError for networks with one seed.
    """
    found = []
    for first, second in pairs:
        a, b = right[first], right[second]
        if min(len(a), len(b)) < 2:
            raise ValueError(f"{first} and {second}: a comparison needs two seeds of each")
        better = float(a.mean() - b.mean())
        error, freedom = _error(a, b)
        reach = float(stats.t.ppf(1 - 0.025 / len(pairs), freedom)) * error
        p = 2 * float(stats.t.sf(abs(better) / error, freedom)) if error else float(better == 0)
        found.append((first, second, better, better - reach, better + reach, p))
    corrected = holm([row[-1] for row in found])
    return [Difference(*row[:-1], p) for row, p in zip(found, corrected, strict=True)]


def _error(a: Right, b: Right) -> tuple[float, float]:
    """The standard error of a difference of means, and its degrees of freedom."""
    num_images = a.shape[1]
    parts = [(float((a.mean(0) - b.mean(0)).var(ddof=1)) / num_images, num_images - 1)]
    twice = 0.0
    for right in (a, b):
        seeds = len(right)
        parts.append((float(right.mean(1).var(ddof=1)) / seeds, seeds - 1))
        rest = right - right.mean(0) - right.mean(1, keepdims=True) + right.mean()
        noise = float((rest**2).sum()) / ((seeds - 1) * (num_images - 1))
        twice += noise / (seeds * num_images)
    largest = max(variance for variance, _ in parts)
    variance = max(sum(variance for variance, _ in parts) - twice, largest)
    spread = sum(own**2 / freedom for own, freedom in parts)
    return math.sqrt(variance), variance**2 / spread if spread else math.inf


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for how many there are (Holm, 1979), in the order given."""
    order = np.argsort(p_values)
    number, corrected, largest = len(p_values), [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (number - place) * p_values[index]))
        corrected[index] = largest
    return corrected
