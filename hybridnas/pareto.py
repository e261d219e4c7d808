"""Dominance, fronts and hypervolume. Every objective is a loss here: lower is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def non_dominated(losses: Floats) -> NDArray[np.bool_]:
    """Which rows no other row dominates.

    losses: (n, m), no NaN. Returns (n,) bool. Equal rows do not dominate each other: all stay.
    """
    no_worse = (losses[:, None, :] <= losses[None, :, :]).all(axis=2)  # [i, j]: i at most j
    better = (losses[:, None, :] < losses[None, :, :]).any(axis=2)
    dominated = (no_worse & better).any(axis=0)
    return np.logical_not(np.atleast_1d(dominated))


def hypervolume(losses: Floats, reference: Floats) -> float:
    """The volume that the rows dominate below the reference point, exactly.

    losses: (n, m); reference: (m,). Rows not below the reference in every objective add nothing.
    Slices along the last objective (While et al., 2006): fine for fronts of hundreds, m <= 4.
    """
    inside = losses[(losses < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if losses.shape[1] == 1:
        return float(reference[0] - inside.min())
    inside = inside[np.argsort(inside[:, -1])]
    floors = np.append(inside[1:, -1], reference[-1]) - inside[:, -1]
    return sum(
        float(height) * hypervolume(inside[: i + 1, :-1], reference[:-1])
        for i, height in enumerate(floors)
        if height > 0
    )


def layers(losses: Floats) -> NDArray[np.int64]:
    """The number of each row's non-dominated layer, from 0: what is left of the rows when those of
    lower layers are taken out (Deb et al., NSGA-II, 2002, section III.A).

    losses: (n, m), no NaN. Returns (n,).
    """
    found = np.zeros(len(losses), dtype=np.int64)
    left = np.arange(len(losses))
    number = 0
    while len(left):
        best = non_dominated(losses[left])
        found[left[best]] = number
        left, number = left[~best], number + 1
    return found


def crowding(losses: Floats) -> Floats:
    """The crowding distance of each row of one layer: over objectives, the sum of the gap between
    its neighbours, in parts of the layer's range; infinite at the ends (NSGA-II, section III.B).

    losses: (n, m). Returns (n,).
    """
    distance = np.zeros(len(losses))
    for column in losses.T if len(losses) else ():
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if extent > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance
