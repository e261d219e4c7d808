"""Which architectures the acquisition function is asked about: drawn, bred, and looked up nearby.

Maximising an acquisition over a discrete space is a search of its own. Small mutations of what is
best so far are what makes the difference there (Schneider et al., "Mutation is all you need",
2021). Rows are choices as in `encoding`: (n, d).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .encoding import Encoder
from .gp import Floats, Inputs, Ints

_DRAWS, _POOL_BLOCKS = 32, 8  # random rows a block, and blocks in the pool
_BRED = 256
_ROUNDS, _STARTS, _NEIGHBOURS = 4, (2, 8), 128

Acquisition = Callable[[Ints, Inputs], Floats]


class Candidates:
    """Feasible rows that a search has not seen."""

    def __init__(self, encoder: Encoder, seed: int) -> None:
        self._encoder, self._seed = encoder, seed
        self._blocks: dict[int, Ints] = {}

    def drawn(self, step: int, seen: set[bytes]) -> tuple[Ints, Inputs]:
        """Random ones. Nearly the same at the next step, so that costs need not be counted anew:
        a block comes, the oldest goes; which rows a block has follows from its number."""
        blocks = range(step, step + _POOL_BLOCKS)
        self._blocks = {block: self._block(block) for block in blocks}
        return self._fresh(np.concatenate(list(self._blocks.values())), seen)

    def best(
        self, acquisition: Acquisition, parents: Ints, step: int, seen: set[bytes]
    ) -> Ints | None:
        """The row with the largest acquisition of: random ones, children of the parents, and round
        by round all neighbours of the best few so far. None where nothing unseen is left."""
        rng, encoder = np.random.default_rng((self._seed, 1, step)), self._encoder
        children = bred(parents, _BRED, encoder.num_choices, rng)
        seen = set(seen)
        found = [self.drawn(step, seen), self._fresh(children, seen)]
        rows = np.concatenate([part for part, _ in found])
        values = np.concatenate([acquisition(*part) for part in found])
        # Few starts and more rounds reach more than many starts: neighbours cost the same.
        around = _NEIGHBOURS // max(1, int((encoder.num_choices - 1).sum()))
        starts = min(max(around, _STARTS[0]), _STARTS[1])
        for _ in range(_ROUNDS):
            best = rows[np.argsort(-values, kind="stable")[:starts]]
            near = [neighbours(row, encoder.num_choices) for row in best]
            part = self._fresh(np.concatenate([rows[:0], *near]), seen)
            gained = acquisition(*part)
            if not len(gained) or gained.max() <= values.max():
                break
            rows, values = np.concatenate([rows, part[0]]), np.concatenate([values, gained])
        return rows[np.argmax(values)] if len(rows) else None

    def _block(self, number: int) -> Ints:
        if number in self._blocks:
            return self._blocks[number]
        rows = self._encoder.random(_DRAWS, np.random.default_rng((self._seed, 0, number)))
        return rows[self._encoder.feasible(rows)]

    def _fresh(self, rows: Ints, seen: set[bytes]) -> tuple[Ints, Inputs]:
        """Of these, the feasible ones that mean nothing seen; they are seen from now on."""
        rows = rows[self._encoder.feasible(rows)]
        inputs = self._encoder.inputs(rows)
        kept = []
        for index, categories in enumerate(inputs.categories):
            key = categories.tobytes()
            if key not in seen:
                seen.add(key)
                kept.append(index)
        return rows[kept], inputs[kept]


def bred(parents: Ints, number: int, num_choices: Ints, rng: np.random.Generator) -> Ints:
    """Children of random parents, (number, d): half of them mix the genes of two, evenly, and all
    have one to three genes changed."""
    n, d = parents.shape
    mothers, fathers = (parents[rng.integers(n, size=number)] for _ in range(2))
    mixed = rng.random((number, d)) < 0.5
    mixed[number // 2 :] = False
    children = np.where(mixed, fathers, mothers)
    changes = rng.integers(1, min(3, d) + 1, size=(number, 1))
    # The genes that change are those of the smallest random numbers.
    order = np.argsort(np.argsort(rng.random((number, d)), axis=1), axis=1)
    steps = 1 + np.floor(rng.random((number, d)) * (num_choices - 1)).astype(np.int64)
    return np.where(order < changes, (children + steps) % num_choices, children)


def neighbours(row: Ints, num_choices: Ints) -> Ints:
    """All rows that differ from this one, (d,), in one gene."""
    found = []
    for gene, number in enumerate(num_choices):
        block = np.repeat(row[None], number, axis=0)
        block[:, gene] = np.arange(number)
        found.append(np.delete(block, row[gene], axis=0))
    return np.concatenate(found)
