"""Evolution by mutation alone: a population, tournaments, one child at a time.

`age`: the oldest leaves, as in aging evolution (Real et al., Regularized Evolution for Image
Classifier Architecture Search, AAAI 2019). `rank`: the worst leaves, so that the population is an
archive of the best (steady state, as in Beume et al., SMS-EMOA, 2007, with NSGA-II's order).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from ...pareto import best_first
from ...space import Genome
from ..feasibility import Feasibility, Space
from .genomes import GenomeSampler

_TRIES = 100  # mutations before a random genome takes the child's place


@dataclass(frozen=True, slots=True)
class Member:
    """losses: of the objectives, lower is better."""

    genome: Genome
    losses: tuple[float, ...]


class EvolutionSampler(GenomeSampler):
    """The parent is the best of a random tournament; the child differs from it in one gene, and
    keeps the constraints. Better: of a lower non-dominated layer, then less crowded (Deb et al.,
    NSGA-II, 2002).

    Random until the population is full. Every trial that has values is a member once, references
    and those of other samplers, too; a trial that failed is none.
    """

    def __init__(
        self,
        hard: Feasibility,
        seed: int,
        population_size: int,
        tournament_size: int,
        survival: str,
    ) -> None:
        super().__init__(hard, seed)
        self._size, self._tournament = population_size, tournament_size
        self._survival = survival
        self._population: list[Member] = []
        self._running: list[int] = []  # numbers

    def propose(self, study: optuna.Study) -> Genome:
        self._take_in(study)
        if len(self._population) < self._size:
            return self._random()
        order = self._best_first()
        for _ in range(_TRIES):
            drawn = self._rng.sample(range(len(order)), min(self._tournament, len(order)))
            child = mutated(self._population[order[min(drawn)]].genome, self._space, self._rng)
            if child is not None and self._is_fresh(child):
                return child
        return self._random()

    def _take_in(self, study: optuna.Study) -> None:
        """Trials that have ended since the last call join the population."""
        self._running += [trial.number for trial in self._new_trials(study)]
        trials = study.get_trials(deepcopy=False)
        ended = [trials[n] for n in self._running if trials[n].state.is_finished()]
        self._running = [n for n in self._running if not trials[n].state.is_finished()]
        for trial in ended:
            if trial.state == TrialState.COMPLETE:
                self._population.append(Member(dict(trial.params), _losses(trial, study)))
                if len(self._population) > self._size:
                    oldest, worst = 0, self._best_first()[-1]
                    self._population.pop(oldest if self._survival == "age" else worst)

    def _best_first(self) -> list[int]:
        return best_first(np.array([member.losses for member in self._population]))


def mutated(genome: Genome, space: Space, rng: random.Random) -> Genome | None:
    """A genome that differs in one gene, drawn evenly, and means something else; None: there is
    none. Genes that do not apply are left alone."""
    before = space.categories(genome)
    names = [name for name, choice in zip(space.genes, before, strict=True) if choice >= 0]
    rng.shuffle(names)
    for name in names:
        values = [value for value in space.genes[name] if value != genome[name]]
        rng.shuffle(values)
        for value in values:
            child = {**genome, name: value}
            if space.categories(child) != before:
                return child
    return None


def _losses(trial: FrozenTrial, study: optuna.Study) -> tuple[float, ...]:
    return tuple(
        -value if direction == StudyDirection.MAXIMIZE else value
        for value, direction in zip(trial.values, study.directions, strict=True)
    )
