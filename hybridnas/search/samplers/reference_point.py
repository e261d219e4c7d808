"""Where the hypervolume that a search enlarges ends: the worst that is still worth something."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...config import Bound
from .gp import Floats
from .history import Goals

# Of the range of what was proposed, beyond its worst. At the worst itself, what is cheaper than
# all of it and a little less good would be worth nothing, and so never be found.
_MARGIN = 0.2


def beyond_worst(losses: Floats) -> Floats:
    """(m,), a fifth of their range above the largest of the losses, (n, m).

    For measured objectives, of the model's means: what went wrong was clipped there.
    """
    return losses.max(axis=0) + _MARGIN * np.ptp(losses, axis=0)


def cost_limits(goals: Goals, costs: Floats, bounds: Mapping[str, Bound]) -> Floats:
    """(k,): the bound of each known cost; where there is none, as `beyond_worst` of (n, k)."""
    given = [goals.limit(place, bounds) for place in range(costs.shape[1])]
    pairs = zip(given, beyond_worst(costs), strict=True)
    return np.array([far if bound is None else bound for bound, far in pairs], dtype=float)
