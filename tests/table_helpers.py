"""A made-up table of results: all that the search core needs, and nothing of vision."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hybridnas.config import Bound, Budget, Sampler
from hybridnas.parts import Option
from hybridnas.search.core import SearchCore
from hybridnas.search.feasibility import Feasibility
from hybridnas.search.local import TableTerms, scored
from hybridnas.search.observer import Candidate
from hybridnas.search.problem import Problem
from hybridnas.space import Genome
from hybridnas.store import Evaluation, Store


@dataclass(frozen=True)
class Cell:
    """A row of the table: its operations, by place."""

    digest: str

    @property
    def short(self) -> str:
        return self.digest

    def to_json(self) -> str:
        return json.dumps(self.digest)

    def describe(self) -> list[str]:
        return list(self.digest)


class Table:
    """`places` places with an operation of a to d each. Operation k costs 10^k MACs."""

    name = "table"

    def __init__(self, places: int = 4) -> None:
        self.genes = {f"place{i}": tuple("abcd") for i in range(places)}

    def decode(self, genome: Mapping[str, Option]) -> Cell:
        return Cell("".join(str(genome[name]) for name in self.genes))

    def categories(self, genome: Mapping[str, Option]) -> tuple[int, ...]:
        return tuple("abcd".index(str(genome[name])) for name in self.genes)

    def random_genome(self, rng: random.Random) -> Genome:
        return {name: rng.choice(values) for name, values in self.genes.items()}

    def size(self) -> int:
        return 4 ** len(self.genes)

    def macs(self, genome: Mapping[str, Option]) -> float:
        return float(sum(10**category for category in self.categories(genome)))


def truth(digest: str) -> float:
    """More of what costs is better, and less so the more there is."""
    gain = sum("abcd".index(letter) for letter in digest)
    return 1 - 1 / (2 + gain)


def luck(digest: str, rung: int, seed: int) -> float:
    """Noise of a tenth at the lowest rung, a hundredth at the next, ...; its own for every seed."""
    return random.Random(f"{digest} {rung} {seed}").gauss(0, 0.1 ** (rung + 1))


def table_score(candidate: Candidate) -> float:
    return truth(candidate.digest) + luck(candidate.digest, candidate.rung, candidate.repeat)


def evaluated(candidate: Candidate) -> Evaluation:
    """Four times as long at each rung as at the one below; on one GPU."""
    metrics = {"top1": table_score(candidate)}
    return scored(candidate, metrics, 60 * 4.0**candidate.rung, gpus=1)


def problem(places: int = 4, max_macs: float = 4000, **changes: Any) -> Problem:
    """A search of the table for top1 and MACs."""
    table = Table(places)
    bounds = {"macs": Bound(max=max_macs)}
    known = Feasibility(table, bounds, lambda genome: {"macs": table.macs(genome)})
    given: dict[str, Any] = {
        "name": "tabular",
        "feasibility": known,
        "objectives": {"top1": "maximize", "macs": "minimize"},
        "terms": lambda place: TableTerms("letters", place.rung, place.repeat),
        "budget": Budget(trials=20),
        "sampler": Sampler(name="random"),
    }
    return Problem(**{**given, **changes})


def begin(store: Store, **changes: Any) -> SearchCore:
    """A search of the table, in the database."""
    wanted = problem(**changes)
    store.put_study(wanted.name, {})
    return SearchCore(wanted, store)
