"""Expected improvement and expected hypervolume improvement where one objective is random.

The other objectives are costs known beforehand, so the improvement is an integral over the known
ones only, and closed (the one-random case of Yang et al., "Efficient computation of expected
hypervolume improvement using box decomposition algorithms", 2019). Over each cell of the known
costs' plane the front has one loss e to beat, and a candidate with cost c, mean mu and standard
deviation sd adds there on average

    volume(cell, above c) * EI(e; mu, sd),   EI(e; mu, sd) = (e - mu) Phi(z) + sd phi(z),
    z = (e - mu) / sd.

Every objective is a loss: lower is better.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

_CHUNK = 2_000_000  # numbers held at a time


def expected_improvement(best: Floats, mean: Floats, sd: Floats) -> Floats:
    """E[max(0, best - Y)] for Y ~ N(mean, sd^2), elementwise; sd may be 0 (Jones et al., 1998)."""
    ahead = best - mean
    z = np.clip(ahead / np.maximum(sd, 1e-15), -38.0, 38.0)  # beyond, both functions are 0 or 1
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    return np.maximum(ahead * ndtr(z) + sd * density, 0.0)


def expected_hypervolume_improvement(
    mean: Floats,
    sd: Floats,
    costs: Floats,
    front_losses: Floats,
    front_costs: Floats,
    worst_loss: float,
    cost_limits: Floats,
) -> Floats:
    """How much candidates are expected to add to the hypervolume, (n,).

    mean, sd: (n,) of the random loss; costs: (n, k) known, k >= 0. front_losses (m,) and
    front_costs (m, k) of what is there already; it may hold dominated points. worst_loss and
    cost_limits (k,): the reference point; what is not below it is worth nothing. With k = 0 this is
    the expected improvement on the least loss. Time grows as n * m^k.
    """
    k = costs.shape[1]
    edges = [_edges(front_costs[:, axis], cost_limits[axis]) for axis in range(k)]
    levels, index = np.unique(
        _to_beat(edges, front_losses, front_costs, worst_loss), return_inverse=True
    )
    index = index.reshape([len(axis) for axis in edges])
    found = np.empty(len(mean))
    step = max(1, _CHUNK // index.size)
    for start in range(0, len(mean), step):
        part = slice(start, start + step)
        gains = expected_improvement(levels, mean[part, None], sd[part, None])  # (n, levels)
        cells = gains[:, index]  # (n, cells of axis 1, ..., cells of axis k)
        for axis in reversed(range(k)):
            upper = np.append(edges[axis][1:], cost_limits[axis])
            widths = np.maximum(upper - np.maximum(edges[axis], costs[part, axis, None]), 0.0)
            cells = np.einsum("n...c,nc->n...", cells, widths)
        found[part] = cells
    return found


def _edges(front: Floats, limit: float) -> Floats:
    """Where cells begin along a cost: below all of the front, and at each of its costs."""
    return np.append(-np.inf, np.unique(front[front < limit]))


def _to_beat(edges: list[Floats], losses: Floats, costs: Floats, worst: float) -> Floats:
    """The least loss that the front has at the lower corner of each cell: it is the same all over
    the cell; `worst` where the front has none."""
    shape = tuple(len(axis) for axis in edges)
    best = np.full(shape, worst)
    for loss, at in zip(losses, costs, strict=True):
        reached = (
            (axis >= cost).reshape([-1 if i == j else 1 for j in range(len(edges))])
            for i, (axis, cost) in enumerate(zip(edges, at, strict=True))
        )
        inside = functools.reduce(np.logical_and, reached, np.ones(shape, dtype=bool))
        best = np.where(inside, np.minimum(best, loss), best)
    return best
