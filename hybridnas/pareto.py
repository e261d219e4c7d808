"""Dominance, fronts and hypervolume. Every objective is a loss here: lower is better."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def non_dominated(losses: Floats) -> NDArray[np.bool_]:
    """Which rows no other row dominates.

    losses: (n, m), no NaN. Returns (n,) bool. Equal rows do not dominate each other: all stay.
    """
    n = len(losses)
    no_worse, better = np.ones((n, n), dtype=bool), np.zeros((n, n), dtype=bool)
    for column in losses.T:  # [i, j]: i at most j in all of them, and below it in one
        no_worse &= column[:, None] <= column
        better |= column[:, None] < column
    return np.logical_not((no_worse & better).any(axis=0))


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
