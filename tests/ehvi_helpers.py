"""A table that is no space of networks, and a search over it without a database."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, ClassVar

from hybridnas.config import Bound
from hybridnas.objectives import Direction
from hybridnas.parts import Option
from hybridnas.search.feasibility import Feasibility
from hybridnas.search.fresh import FreshProposals
from hybridnas.search.proposer import Proposer
from hybridnas.search.samplers.ehvi_sampler import EhviSampler
from hybridnas.space import Genome

TWO: Mapping[str, Direction] = {"top1": "maximize", "macs": "minimize"}
DIGITS = 5
VALUES = 4


class Word:
    """What a genome of `Table` means."""

    def __init__(self, digits: tuple[int, ...]) -> None:
        self.digest = self.short = "".join(map(str, digits))

    def to_json(self) -> str:
        return self.digest

    def describe(self) -> list[str]:
        return []


class Table:
    """4^5 architectures without parts: a space that is none of networks."""

    name = "table"
    genes: ClassVar[dict[str, tuple[Option, ...]]] = {
        f"gene{i}": tuple(range(VALUES)) for i in range(DIGITS)
    }

    def decode(self, genome: Mapping[str, Any]) -> Word:
        return Word(self.categories(genome))

    def categories(self, genome: Mapping[str, Any]) -> tuple[int, ...]:
        return tuple(genome[name] for name in self.genes)

    def random_genome(self, rng: random.Random) -> Genome:
        return {name: rng.randrange(VALUES) for name in self.genes}

    def size(self) -> int:
        return VALUES**DIGITS


def named(digits: tuple[int, ...]) -> Genome:
    return dict(zip(Table.genes, digits, strict=True))


def macs(genome: Mapping[str, Any]) -> float:
    return 1e6 * (1.0 + sum(genome.values()))


def accuracy(genome: Mapping[str, Any]) -> float:
    """Grows with the cost; some choices are better than their cost, two of them only together."""
    digits = list(genome.values())
    together = 0.1 * (digits[0] == 1 and digits[1] == 2)
    return 0.5 + 0.02 * sum(digits) + 0.05 * (digits[2] == 1) + together


def table(**bounds: Bound) -> Feasibility:
    return Feasibility(
        Table(),
        bounds,
        lambda genome: {"macs": macs(genome), "params": 1.0 + Table().categories(genome)[0]},
    )


class Search:
    """A sampler and the mirror that it reads, driven without a database."""

    def __init__(
        self,
        hard: Feasibility,
        objectives: Mapping[str, Direction] = TWO,
        seed: int = 0,
        startup_trials: int = 8,
    ) -> None:
        self.objectives = objectives
        sampler = EhviSampler(hard, objectives, seed, startup_trials)
        self.proposer = Proposer(hard.space.genes, list(objectives.values()), sampler)
        self.fresh = FreshProposals(hard, self.proposer, seed)
        self.hard, self.count = hard, 0

    def ask(self) -> tuple[int, Genome]:
        proposal = self.fresh.next()
        assert proposal is not None
        self.proposer.link(proposal.mirror, self.count)
        self.count += 1
        return self.count - 1, proposal.genome

    def values(self, genome: Genome) -> list[float]:
        known = {"top1": accuracy(genome), "loss": -accuracy(genome), **self.hard.cost_of(genome)}
        return [known[name] for name in self.objectives]

    def turn(self) -> Genome:
        number, genome = self.ask()
        self.proposer.tell(number, self.values(genome))
        return genome

    def run(self, trials: int) -> list[Genome]:
        return [self.turn() for _ in range(trials)]

    def sample(self) -> Genome:
        """What the sampler itself proposes now, which becomes no trial."""
        mirror, genome = self.proposer.propose()
        self.proposer.forget(mirror)
        return genome
