"""Proposals that may become trials: feasible, and none that was proposed before."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..space import Genome
from .feasibility import Costs, Feasibility, Space, Subject
from .proposer import Proposer
from .randomness import of_trial

# Where nearly all that is feasible was seen, looking on would hold the search up.
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A genome that is to become a trial.

    mirror: its id with the proposer, to be linked with the trial's number.
    notes: the sampler's, to be kept with the trial.
    """

    mirror: int
    genome: Genome
    architecture: Subject
    digest: str
    costs: Costs
    notes: Mapping[str, Any]


class FreshProposals:
    """References first, then a sampler's proposals: repaired where they break a hard constraint,
    moved on where they were seen before."""

    def __init__(
        self,
        feasibility: Feasibility,
        proposer: Proposer,
        seed: int,
        references: Iterable[Genome] = (),
    ) -> None:
        self.num_drawn = self.num_infeasible = 0  # of the sampler
        self._feasibility, self._proposer = feasibility, proposer
        self._space: Space = feasibility.space
        self._size = self._space.size()
        self._references = deque(references)
        self._seed = seed
        self._seen: set[str] = set()

    def saw(self, digest: str) -> None:
        """An architecture that an earlier run of the study proposed."""
        self._seen.add(digest)

    def next(self) -> Proposal | None:
        """The next one, settled with the proposer; None when no fresh one was found.

        What it draws follows from the seed and how many were seen, also after a resume.
        """
        while self._references:
            genome = self._references.popleft()
            if self._space.decode(genome).digest not in self._seen:
                return self._settled(self._proposer.enqueue(genome), genome)
        rng = of_trial(self._seed, len(self._seen))
        self._proposer.reseed(rng)
        mirror, drawn = self._proposer.propose()
        self.num_drawn += 1
        fresh = self._fresh(drawn, rng)
        if fresh is None:
            self._proposer.forget(mirror)
            return None
        return self._settled(mirror, fresh)

    def _settled(self, mirror: int, genome: Genome) -> Proposal:
        architecture = self._space.decode(genome)
        self._seen.add(architecture.digest)
        notes = self._proposer.settle(mirror, genome)
        costs = self._feasibility.cost_of(genome)
        return Proposal(mirror, genome, architecture, architecture.digest, costs, notes)

    def _fresh(self, genome: Genome, rng: random.Random) -> Genome | None:
        if self._feasibility.violation(self._feasibility.cost_of(genome)) > 0:
            self.num_infeasible += 1
        if len(self._seen) >= self._size:
            return None
        start = self._feasibility.repair(genome, rng) or self._feasibility.draw(rng)
        deadline = time.monotonic() + _PATIENCE_S
        for attempt in range(1000):
            if start is None or time.monotonic() > deadline:
                return None
            if self._space.decode(start).digest not in self._seen:
                return start
            # Ever wider steps around the proposal, so a crowded corner is left in the end.
            names = rng.sample(
                sorted(self._space.genes), min(1 + attempt // 50, len(self._space.genes))
            )
            moved = {n: rng.choice(self._space.genes[n]) for n in names}
            start = self._feasibility.repair({**start, **moved}, rng) or start
        return None
