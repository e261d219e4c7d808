"""Dominance and hypervolume against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hybridnas.pareto import Floats, best_first, crowding, hypervolume, layers, non_dominated

SHAPES = [(n, m) for n in (1, 2, 5, 12) for m in (1, 2, 3)]


def on_grid(n: int, m: int, seed: int, side: int = 5) -> Floats:
    """Whole numbers, so that ties and equal rows are common."""
    return np.random.default_rng(seed).integers(0, side, (n, m)).astype(np.float64)


@pytest.mark.parametrize(("n", "m"), SHAPES)
def test_a_row_stays_unless_another_dominates_it(n: int, m: int) -> None:
    for seed in range(50):
        x = on_grid(n, m, seed)
        want = [
            not any((x[j] <= x[i]).all() and (x[j] < x[i]).any() for j in range(n))
            for i in range(n)
        ]
        assert non_dominated(x).tolist() == want


def test_equal_rows_all_stay() -> None:
    x = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0], [0.0, 3.0]])
    assert non_dominated(x).tolist() == [True, True, False, True]


def test_the_front_of_nothing() -> None:
    assert non_dominated(np.empty((0, 2))).tolist() == []
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0


@pytest.mark.parametrize(("n", "m"), SHAPES)
def test_hypervolume_counts_the_dominated_cells(n: int, m: int) -> None:
    """On whole numbers the volume is the number of unit cells that some row is below."""
    side = 4  # rows go up to 4, so some lie on the reference's edge
    for seed in range(20):
        x = on_grid(n, m, seed)
        cells = np.array(list(itertools.product(range(side), repeat=m)))
        want = sum(bool(np.any(np.all(x <= cell, axis=1))) for cell in cells)
        assert hypervolume(x, np.full(m, float(side))) == want
        stretch = np.array([0.5, 3.0, 1e9])[:m]
        stretched = hypervolume(x * stretch, side * stretch)
        assert stretched == pytest.approx(want * stretch.prod())


@pytest.mark.parametrize(
    ("rows", "reference", "want"),
    [
        ([[1, 3], [3, 1]], [4, 4], 3 + 3 - 1),
        ([[0, 0]], [2, 3], 6),
        ([[-3, 1], [-2, 0]], [0, 2], 3 + 4 - 2),  # an accuracy, its sign turned
        ([[2], [5], [1]], [4], 3),
        # Three boxes of 6, each pair shares 2, all three share 1.
        ([[1, 2, 3], [3, 1, 2], [2, 3, 1]], [4, 4, 4], 3 * 6 - 3 * 2 + 1),
    ],
)
def test_hypervolume_by_hand(rows: list[list[int]], reference: list[int], want: float) -> None:
    found = hypervolume(np.array(rows, dtype=float), np.array(reference, dtype=float))
    assert found == pytest.approx(want)


@pytest.mark.parametrize("outside", [[5, 0], [0, 4], [4, 4], [9, 9]])
def test_rows_that_do_not_reach_the_reference_add_nothing(outside: list[float]) -> None:
    reference = np.array([4.0, 4.0])
    assert hypervolume(np.array([outside], dtype=float), reference) == 0
    assert hypervolume(np.array([[1, 3], outside, [3, 1]], dtype=float), reference) == 5


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume_knows_no_order(m: int) -> None:
    rng = np.random.default_rng(m)
    x, reference = rng.random((15, m)), rng.uniform(0.8, 1.2, m)
    want = hypervolume(x, reference)
    for _ in range(5):
        rows, columns = rng.permutation(15), rng.permutation(m)
        found = hypervolume(x[rows][:, columns], reference[columns])
        assert found == pytest.approx(want, rel=1e-12)
    front = x[non_dominated(x)]
    assert hypervolume(front, reference) == pytest.approx(want, rel=1e-12)
    assert hypervolume(np.vstack([x, front]), reference) == pytest.approx(want, rel=1e-12)
    assert want > 0


def test_hypervolume_of_a_dense_sample() -> None:
    """Real numbers, four objectives: against the share of random points that are dominated."""
    rng = np.random.default_rng(0)
    x, reference = rng.random((20, 4)), np.ones(4)
    points = rng.random((40_000, 4))
    share = float(np.mean(np.any(np.all(x[None] <= points[:, None], axis=2), axis=1)))
    assert hypervolume(x, reference) == pytest.approx(share, abs=4 * 0.5 / 200)


@pytest.mark.parametrize(("n", "m"), [(0, 2), (1, 2), (30, 1), (30, 2), (30, 3)])
def test_layers_are_what_is_left_of_lower_ones(n: int, m: int) -> None:
    losses = on_grid(n, m, seed=1)
    want: dict[int, int] = {}
    number = 0
    while len(want) < n:
        left = [i for i in range(n) if i not in want]
        rows = losses[left]
        for i in left:
            if not ((rows <= losses[i]).all(axis=1) & (rows < losses[i]).any(axis=1)).any():
                want[i] = number
        number += 1
    assert layers(losses).tolist() == [want[i] for i in range(n)]


def test_crowding_by_hand() -> None:
    inf = float("inf")
    losses = np.array([[0.0, 8.0], [4.0, 0.0], [1.0, 4.0], [2.0, 2.0]])
    # of (1, 4): (2 - 0) / 4 + (8 - 2) / 8; of (2, 2): (4 - 1) / 4 + (4 - 0) / 8
    assert crowding(losses).tolist() == [inf, inf, 1.25, 1.25]
    assert crowding(np.array([[1.0, 2.0]])).tolist() == [inf]
    equal = crowding(np.array([[1.0, 3.0], [1.0, 1.0], [1.0, 2.0]]))
    assert equal[1] == equal[0] == inf


def test_best_first_is_by_layers_then_by_crowding() -> None:
    losses = on_grid(40, 2, seed=0)
    order = best_first(losses)
    assert sorted(order) == list(range(40))
    layer = layers(losses)
    for before, after in itertools.pairwise(order):
        assert layer[before] <= layer[after]
        if layer[before] == layer[after]:
            mates = np.flatnonzero(layer == layer[before])
            room = dict(zip(mates.tolist(), crowding(losses[mates]).tolist(), strict=True))
            keys = [(-room[row], *losses[row], row) for row in (before, after)]
            assert keys[0] < keys[1]
    assert best_first(losses[:0]) == []
