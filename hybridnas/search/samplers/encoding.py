"""Genomes as rows of numbers, with all that is known of them before any training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...parts import Option
from ...space import Genome, SearchSpace
from ..feasibility import Costs, Feasibility, Space
from .gp import Inputs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MAX_KEPT = 200_000  # genomes that are remembered; each takes about a kilobyte


class Encoder:
    """Genomes of a space to (n, d) choices, and choices to costs, categories and regressors.

    Choices index the genes' values, also of genes that do not apply; categories say -1 there. What
    was computed once is remembered, since a search looks at the same corners again and again.
    """

    def __init__(self, hard: Feasibility) -> None:
        self._hard, self._space = hard, hard.space
        self._genes = {name: tuple(values) for name, values in hard.space.genes.items()}
        self._index = {n: {_key(v): i for i, v in enumerate(vs)} for n, vs in self._genes.items()}
        self.num_choices: Ints = np.array([len(v) for v in self._genes.values()], dtype=np.int64)
        self._costs: dict[bytes, Costs] = {}
        self._inputs: dict[bytes, tuple[tuple[int, ...], list[float]]] = {}
        self._block_counts = _BlockCounts(hard.space)
        some = {name: values[0] for name, values in self._genes.items()}
        self._num_regressors = len(hard.cost_of(some)) + self._block_counts.number

    def choices(self, genomes: Iterable[Mapping[str, Option]]) -> Ints:
        """(n, d), of genomes that name every gene."""
        rows = [[self._index[n][_key(g[n])] for n in self._genes] for g in genomes]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(self._genes))

    def genome(self, choices: Ints) -> Genome:
        """Of (d,) choices."""
        pairs = zip(self._genes.items(), choices.tolist(), strict=True)
        return {name: values[choice] for (name, values), choice in pairs}

    def random(self, number: int, rng: np.random.Generator) -> Ints:
        """Every gene drawn evenly, (number, d)."""
        return rng.integers(self.num_choices, size=(number, len(self.num_choices)))

    def feasible(self, choices: Ints) -> Bools:
        """Which rows keep the hard constraints, (n,)."""
        violations = (self._hard.violation(self._costs_of(row)) for row in choices)
        return np.array([violation == 0 for violation in violations], dtype=bool)

    def costs(self, choices: Ints, names: Sequence[str]) -> Floats:
        """The named costs, (n, number of names)."""
        found = [[self._costs_of(row)[name] for name in names] for row in choices]
        return np.array(found, dtype=float).reshape(len(choices), len(names))

    def inputs(self, choices: Ints) -> Inputs:
        """What the model is told: categories, and as regressors the logarithm of every cost and
        the number of blocks of each mixer, where the space has mixers."""
        found = [self._inputs_of(row) for row in choices]
        categories = np.array([pair[0] for pair in found], dtype=np.int64)
        regressors = np.array([pair[1] for pair in found], dtype=float)
        return Inputs(
            categories.reshape(len(found), len(self._genes)),
            regressors.reshape(len(found), self._num_regressors),
        )

    def _costs_of(self, row: Ints) -> Costs:
        key = row.tobytes()
        known = self._costs.get(key)
        if known is None:
            if len(self._costs) >= _MAX_KEPT:
                self._costs.clear()
            known = self._costs[key] = self._hard.cost_of(self.genome(row))
        return known

    def _inputs_of(self, row: Ints) -> tuple[tuple[int, ...], list[float]]:
        key = row.tobytes()
        known = self._inputs.get(key)
        if known is None:
            if len(self._inputs) >= _MAX_KEPT:
                self._inputs.clear()
            genome = self.genome(row)
            sizes = [float(np.log(max(cost, 1e-12))) for cost in self._costs_of(row).values()]
            found = self._space.categories(genome), sizes + self._block_counts(genome)
            known = self._inputs[key] = found
        return known


def _key(value: Option) -> tuple[str, Option]:
    return type(value).__name__, value  # 1, 1.0 and True are different choices


class _BlockCounts:
    """How many blocks of each mixer the architectures of a search space have; nothing of a space
    of another kind."""

    def __init__(self, space: Space) -> None:
        self._space = space if isinstance(space, SearchSpace) else None
        kinds = self._space.spec.kinds if self._space else {}
        mixers = list(dict.fromkeys(kind.mixer for kind in kinds.values()))
        self._column = {name: mixers.index(kind.mixer) for name, kind in kinds.items()}
        self.number = len(mixers)

    def __call__(self, genome: Genome) -> list[float]:
        counts = [0.0] * self.number
        if self._space:
            for stage in self._space.layout(genome).stages:
                for run in stage.runs:
                    counts[self._column[run.kind]] += run.number
        return counts
