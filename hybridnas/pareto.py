"""Dominance, fronts and hypervolume. Every objective is a loss here: lower is better."""

from __future__ import annotations

from bisect import bisect_right

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


def layers(losses: Floats) -> NDArray[np.intp]:
    """The layer of each row: 0 for the front, 1 for the front of what is left without it, ...

    losses: (n, m), no NaN. Returns (n,). Non-dominated sorting (Deb et al., 2002, section III.A).
    """
    if losses.shape[1] == 2:
        return _layers_of_two(losses)
    no_worse = np.ones((len(losses), len(losses)), dtype=bool)  # [i, j]: i at most j
    for column in losses.T:
        no_worse &= column[:, None] <= column[None, :]
    dominates = no_worse & ~no_worse.T  # [i, j]: i dominates j
    above = dominates.sum(axis=0)
    found = np.zeros(len(losses), dtype=np.intp)
    left, layer = np.ones(len(losses), dtype=bool), 0
    while left.any():
        front = left & (above == 0)
        found[front] = layer
        above -= dominates[front].sum(axis=0)
        left, layer = left & ~front, layer + 1
    return found


def _layers_of_two(losses: Floats) -> NDArray[np.intp]:
    """The same for two losses, in n log n.

    By the first loss a row can be dominated only by rows before it; of each layer the last of them
    has the least second loss, and these grow from layer to layer.
    """
    found = np.zeros(len(losses), dtype=np.intp)
    lowest: list[float] = []  # second loss, by layer
    before: tuple[float, float] | None = None
    place = 0
    for row in np.lexsort((losses[:, 1], losses[:, 0])).tolist():
        values = float(losses[row, 0]), float(losses[row, 1])
        if values != before:  # equal rows share a layer
            place, before = bisect_right(lowest, values[1]), values
            lowest[place : place + 1] = [values[1]]
        found[row] = place
    return found


def crowding(losses: Floats) -> Floats:
    """How much room the neighbours of each row leave it, among rows of one layer.

    losses: (n, m). Returns (n,): the sum over objectives of the distance between the two
    neighbours as a share of the range; infinite at the ends (Deb et al., 2002, section III.B).
    """
    room = np.zeros(len(losses))
    if not len(losses):
        return room
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        room[order[[0, -1]]] = np.inf
        span = column[order[-1]] - column[order[0]]
        if span > 0:
            room[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return room


def best_first(losses: Floats) -> list[int]:
    """Rows by layer; within a layer the least crowded first, of equals (both ends of a layer are)
    the one with less of the first loss, then of the next, then the earlier one.

    losses: (n, m), no NaN.
    """
    layer, room = layers(losses), np.zeros(len(losses))
    for number in range(layer.max(initial=-1) + 1):
        room[layer == number] = crowding(losses[layer == number])
    return sorted(range(len(losses)), key=lambda row: (layer[row], -room[row], *losses[row], row))


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
