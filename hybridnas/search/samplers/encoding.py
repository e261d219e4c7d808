"""Genomes as rows of numbers, with all that is known of them before any training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...parts import Option
from ...space import Genome, SearchSpace
from ..feasibility import Costs, Feasibility, Space
from .gp import Inputs

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_MAX_KEPT = 100_000  # genomes that are remembered; each takes a few kilobytes


class _Known:
    """A genome with its costs and, once asked for, what the model is told of it."""

    __slots__ = ("categories", "costs", "genome", "regressors")

    def __init__(self, genome: Genome, costs: Costs) -> None:
        self.genome, self.costs = genome, costs
        self.categories: tuple[int, ...] | None = None
        self.regressors: list[float] = []


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
        self._known: dict[bytes, _Known] = {}
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
        violations = (self._hard.violation(known.costs) for known in self._of(choices))
        return np.array([violation == 0 for violation in violations], dtype=bool)

    def costs(self, choices: Ints, names: Sequence[str]) -> Floats:
        """The named costs, (n, number of names)."""
        found = [[known.costs[name] for name in names] for known in self._of(choices)]
        return np.array(found, dtype=float).reshape(len(choices), len(names))

    def inputs(self, choices: Ints) -> Inputs:
        """What the model is told: categories, and as regressors the logarithm of every cost and
        the number of blocks of each mixer, where the space has mixers."""
        found = [self._described(known) for known in self._of(choices)]
        categories = np.array([known.categories for known in found], dtype=np.int64)
        regressors = np.array([known.regressors for known in found], dtype=float)
        return Inputs(
            categories.reshape(len(found), len(self._genes)),
            regressors.reshape(len(found), self._num_regressors),
        )

    def _of(self, choices: Ints) -> Iterator[_Known]:
        for row in choices:
            key = row.tobytes()
            known = self._known.get(key)
            if known is None:
                if len(self._known) >= _MAX_KEPT:
                    self._known.clear()
                genome = self.genome(row)
                known = self._known[key] = _Known(genome, self._hard.cost_of(genome))
            yield known

    def _described(self, known: _Known) -> _Known:
        if known.categories is None:
            known.categories = self._space.categories(known.genome)
            sizes = [math.log(max(cost, 1e-12)) for cost in known.costs.values()]
            known.regressors = sizes + self._block_counts(known.genome)
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
            for kind, number in self._space.kinds(genome):
                counts[self._column[kind]] += number
        return counts
