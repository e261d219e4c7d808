"""Hard constraints: decided in closed form, before a trial exists; proposals are repaired."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..config import Bound
from ..errors import SpaceError
from ..parts import Option
from ..space import Genome

Costs = Mapping[str, float]
CostOf = Callable[[Genome], Costs]


class Subject(Protocol):
    """What a genome means: for a search space an Architecture."""

    @property
    def digest(self) -> str: ...

    @property
    def short(self) -> str: ...

    def to_json(self) -> str: ...

    def describe(self) -> list[str]: ...


class Space(Protocol):
    """What a search needs of a space; a SearchSpace is one, a table of results can be.

    genes: the choices by decision. categories: the index of each gene's choice in their order, -1
    where it does not apply; equal for two genomes exactly when they mean the same.
    """

    @property
    def name(self) -> str: ...

    @property
    def genes(self) -> Mapping[str, Sequence[Option]]: ...

    def decode(self, genome: Mapping[str, Option]) -> Subject: ...

    def categories(self, genome: Mapping[str, Option]) -> tuple[int, ...]: ...

    def random_genome(self, rng: random.Random) -> Genome: ...

    def size(self) -> int: ...


@dataclass(frozen=True)
class Feasibility:
    """What candidates must keep, and how to bring a genome there.

    bounds: by the name of the cost. cost_of: the costs of a genome, cheap (microseconds).
    counted: how MACs are counted, for messages.
    """

    space: Space
    bounds: Mapping[str, Bound]
    cost_of: CostOf
    counted: str = ""

    def violation(self, costs: Costs) -> float:
        """How far costs are outside, relative to the bounds; 0: feasible."""
        excesses = (bound.excess(costs[name]) for name, bound in self.bounds.items())
        return sum(max(0.0, excess) for each in excesses for excess in each)

    def slacks(self, costs: Costs) -> list[float]:
        """Each bound as a number that must not be positive: Optuna's form of a constraint."""
        pairs = [(costs[name], bound) for name, bound in self.bounds.items()]
        over = [value - bound.max for value, bound in pairs if bound.max is not None]
        return over + [bound.min - value for value, bound in pairs if bound.min is not None]

    @property
    def num_slacks(self) -> int:
        return sum((b.max is not None) + (b.min is not None) for b in self.bounds.values())

    def repair(self, genome: Genome, rng: random.Random) -> Genome | None:
        """A feasible genome near this one; itself if it is feasible; None when none was reached.

        Each step changes the one gene that helps: any that ends the violation, drawn evenly, else
        one out of the better half of those that lower it, so repaired proposals stay diverse.
        """
        violation = self.violation(self.cost_of(genome))
        while violation > 0:
            steps = [
                (self.violation(self.cost_of(changed)), changed)
                for changed in neighbours(self.space, genome)
            ]
            ends = [step for step in steps if step[0] == 0]
            helps = sorted((s for s in steps if s[0] < violation), key=lambda step: step[0])
            if not helps:
                return None
            violation, genome = rng.choice(ends or helps[: (len(helps) + 1) // 2])
        return genome

    def draw(self, rng: random.Random, tries: int = 100) -> Genome | None:
        """A random feasible genome; None when repair fails from so many random starts."""
        for _ in range(tries):
            found = self.repair(self.space.random_genome(rng), rng)
            if found is not None:
                return found
        return None

    def check(self) -> None:
        """Raises SpaceError, with what can be reached, when no architecture meets the bounds."""
        rng = random.Random(0)
        if not self.bounds or self.draw(rng) is not None:
            return
        apart: list[str] = []
        within: list[str] = []
        for name, bound in self.bounds.items():
            low, high = self.extreme(name, rng, 1), self.extreme(name, rng, -1)
            wanted = [f"{k} {v:.4g}" for k, v in (("min", bound.min), ("max", bound.max)) if v]
            reach = f"the space reaches {low:.4g} to {high:.4g}"
            met = low <= (bound.max or low) and high >= (bound.min or high)
            (within if met else apart).append(f"{name} must keep {' and '.join(wanted)}, {reach}")
        # What is out of reach by itself is the thing to mend.
        together = "" if apart else " (but nothing was found that keeps all of it)"
        counted = f"; MACs are counted {self.counted}" if self.counted else ""
        raise SpaceError(
            f"no architecture of {self.space.name!r} meets the constraints: "
            f"{'; '.join(apart or within)}{together}{counted}"
        )

    def extreme(self, name: str, rng: random.Random, sign: int, starts: int = 16) -> float:
        """The least (sign 1) or largest (-1) cost, by descent over single genes.

        They have their turns in an order of chance, by which starts end in different optima: the
        best of all neighbours at each step would take as many looks again for every gene.
        """

        def signed(genome: Genome) -> float:
            return sign * self.cost_of(genome)[name]

        genes, best = list(self.space.genes.items()), float("inf")
        for _ in range(starts):
            genome = self.space.random_genome(rng)
            value, before = signed(genome), float("inf")
            while value < before:
                rng.shuffle(genes)
                for gene, choices in genes:
                    genome = min(({**genome, gene: choice} for choice in choices), key=signed)
                value, before = signed(genome), value
            best = min(best, value)
        return sign * best


def neighbours(space: Space, genome: Genome) -> Iterator[Genome]:
    """All genomes that differ in one gene."""
    for name, values in space.genes.items():
        for value in values:
            if value != genome[name]:
                yield {**genome, name: value}
