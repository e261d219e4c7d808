"""What a candidate is worth to the front, given the surrogate."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...config import Bound
from .gp import Floats
from .history import Goals


def cost_limits(goals: Goals, costs: Floats, bounds: Mapping[str, Bound]) -> Floats:
    """Where the reference point lies on the known costs, (k,): at the bound; where there is none,
    a tenth of their range above the largest of what was proposed, (n, k)."""
    limits = []
    for place, column in enumerate(costs.T):
        bound = goals.limit(place, bounds)
        beyond = column.max() + 0.1 * np.ptp(column)
        limits.append(beyond if bound is None else bound)
    return np.array(limits, dtype=float)
