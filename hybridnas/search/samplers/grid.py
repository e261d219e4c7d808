"""Every architecture once."""

from __future__ import annotations

import math

import optuna

from ...errors import ConfigError
from ...space import Genome
from ..feasibility import Feasibility
from .genomes import GenomeSampler

LARGEST = 1_000_000  # genomes; the order of so many takes a second


class GridSampler(GenomeSampler):
    """Proposes each architecture that keeps the constraints and that no trial has yet, in an order
    that the seed decides. When there is none left, what it proposes was seen.

    Raises ConfigError for a space of more than LARGEST genomes.
    """

    def __init__(self, hard: Feasibility, seed: int) -> None:
        super().__init__(hard, seed)
        number = math.prod(len(values) for values in self._space.genes.values())
        if number > LARGEST:
            raise ConfigError(
                f"sampler grid goes through every combination of choices, of which the space "
                f"{self._space.name!r} has {number:.3g}; allowed are up to {LARGEST:,}"
            )
        self._left = list(range(number))
        self._rng.shuffle(self._left)

    def propose(self, study: optuna.Study) -> Genome:
        self._new_trials(study)
        while self._left:
            genome = self._numbered(self._left.pop())
            if self._is_fresh(genome):
                return genome
        return self._space.random_genome(self._rng)

    def _numbered(self, number: int) -> Genome:
        """The genome of a number, whose digits are the choices."""
        genome: Genome = {}
        for name, values in self._space.genes.items():
            number, digit = divmod(number, len(values))
            genome[name] = values[digit]
        return genome
