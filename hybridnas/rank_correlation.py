"""How well one score orders architectures as another does, with how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# With fewer pairs too few of the bootstrap's intervals hold the truth, and many have no width at
# all (studies/LOG.md).
FEWEST = 8


@dataclass(frozen=True, slots=True)
class Tau:
    """Kendall's tau-b, and a 95 % confidence interval."""

    tau: float
    low: float
    high: float


def tau_with_interval(
    x: Floats, y: Floats, given: Floats | None = None, *, resamples: int = 1000, seed: int = 0
) -> Tau | None:
    """Kendall's tau-b of x and y, (n,) each; with `given`, of what it leaves of both.

    given: (n,), log MACs say. Both scores are taken apart from a parabola in it, fitted by least
    squares, so that the tau tells how architectures of equal MACs are ordered.

    The interval is the bootstrap's, 2.5 to 97.5 % of the taus of pairs drawn anew (Efron and
    Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13); the parabolas are fitted to
    each draw. It is one of 95 % from FEWEST pairs on. None where the scores of one side are all
    equal.
    """
    found = _tau(x, y, given)
    if found is None:
        return None
    rng, number = np.random.default_rng(seed), len(x)
    drawn = [rng.integers(0, number, number) for _ in range(resamples)]
    taus = [_tau(x[i], y[i], None if given is None else given[i]) for i in drawn]
    low, high = np.quantile([tau for tau in taus if tau is not None], [0.025, 0.975])
    return Tau(found, float(low), float(high))


def _tau(x: Floats, y: Floats, given: Floats | None) -> float | None:
    if given is not None:
        x, y = _apart_from(x, given), _apart_from(y, given)
    # By the definition, over all pairs: the bootstrap asks for thousands of small ones.
    up, right = (np.sign(scores[:, None] - scores[None, :]) for scores in (x, y))
    ties_apart = np.sqrt((up**2).sum() * (right**2).sum())
    return float((up * right).sum() / ties_apart) if ties_apart else None


def _apart_from(x: Floats, given: Floats) -> Floats:
    """What a parabola in `given` leaves of x; of equal scores nothing at all."""
    spread = given.std() or 1.0
    terms = np.vander((given - given.mean()) / spread, 3)
    rest = x - terms @ np.linalg.lstsq(terms, x, rcond=None)[0]
    # Rounding is no order.
    return np.where(np.abs(rest) < 1e-9 * max(float(np.abs(x).max()), 1e-300), 0.0, rest)
