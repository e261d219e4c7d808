"""A tabular benchmark: a space whose every architecture was trained, so that a search can be
replayed in milliseconds. It is a `search.feasibility.Space`; costs and scores are looked up."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..config import Bound
from ..errors import ConfigError
from ..objectives import Direction
from ..parts import Option
from ..space import Genome

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Row:
    """What a genome of a table means: a row of it (a search's `Subject`)."""

    table: str
    choices: tuple[tuple[str, Option], ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def short(self) -> str:
        return "-".join(str(value) for _, value in self.choices)

    def to_json(self) -> str:
        return json.dumps({"table": self.table, "choices": dict(self.choices)}, sort_keys=True)

    def describe(self) -> list[str]:
        return [f"{name} {value}" for name, value in self.choices]


@dataclass(frozen=True)
class Trainings:
    """All architectures at one fidelity.

    cost: of one training, in parts of the dearest. scores: (rows, runs), a column a random seed.
    """

    cost: float
    scores: Floats


class Table:
    """A space, its costs, and the scores of its trainings.

    genes: choices by decision; there is one row for each combination of them, and rows holds each
        row's choices, as indices: (rows, genes).
    costs: (rows,) by name. fidelities: lowest first; the mean of the last one's runs is the truth.
    metric, direction: what is scored, and whether more is better.
    bounds: hard constraints on costs. reference: of the hypervolume; its names are the objectives,
        the metric and some of the costs.
    Raises ConfigError for combinations that lack or stand twice.
    """

    def __init__(
        self,
        name: str,
        genes: Mapping[str, Sequence[Option]],
        rows: NDArray[np.int64],
        costs: Mapping[str, Floats],
        fidelities: Sequence[Trainings],
        metric: str,
        direction: Direction,
        bounds: Mapping[str, Bound],
        reference: Mapping[str, float],
    ) -> None:
        self.name, self.metric, self.direction = name, metric, direction
        self.genes = {gene: tuple(values) for gene, values in genes.items()}
        self.costs, self.fidelities = dict(costs), tuple(fidelities)
        self.bounds, self.reference = dict(bounds), dict(reference)
        self._row = {tuple(row): number for number, row in enumerate(rows.tolist())}
        wanted = math.prod(len(values) for values in self.genes.values())
        if not 0 < len(rows) == len(self._row) == wanted:
            raise ConfigError(
                f"table {name!r}: its genes have {wanted} combinations, it has {len(rows)} rows "
                f"for {len(self._row)} of them; allowed is one row each"
            )
        self._choices = rows

    @property
    def objectives(self) -> dict[str, Direction]:
        """Direction by name: the metric, and the costs that the reference names."""
        costs: dict[str, Direction] = {n: "minimize" for n in self.reference if n != self.metric}
        return {self.metric: self.direction, **costs}

    @property
    def truth(self) -> Floats:
        """(rows,), the mean over the runs of the last fidelity."""
        return self.fidelities[-1].scores.mean(axis=1)

    def decode(self, genome: Mapping[str, Option]) -> Row:
        return Row(self.name, tuple((gene, genome[gene]) for gene in self.genes))

    def categories(self, genome: Mapping[str, Option]) -> tuple[int, ...]:
        return tuple(values.index(genome[gene]) for gene, values in self.genes.items())

    def random_genome(self, rng: random.Random) -> Genome:
        return {gene: rng.choice(values) for gene, values in self.genes.items()}

    def size(self) -> int:
        return len(self._choices)

    def row(self, genome: Mapping[str, Option]) -> int:
        """The number of a genome's row."""
        return self._row[self.categories(genome)]

    def genome(self, row: int) -> Genome:
        pairs = zip(self.genes.items(), self._choices[row], strict=True)
        return {gene: values[choice] for (gene, values), choice in pairs}

    def cost_of(self, genome: Mapping[str, Option]) -> dict[str, float]:
        row = self.row(genome)
        return {name: float(values[row]) for name, values in self.costs.items()}

    def evaluate(self, genome: Mapping[str, Option], run: int = 0, fidelity: int = -1) -> float:
        """The score of one training."""
        return float(self.fidelities[fidelity].scores[self.row(genome), run])
