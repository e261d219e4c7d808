"""Optuna's samplers, asked in memory.

A sampler reads the history from a study in memory that mirrors the one in the database. So a
proposal costs no transaction, can be repaired before it becomes a trial, and the real trial is
then created with all its parameters at once.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseGASampler, BaseSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from ..objectives import Direction
from ..parts import Option
from ..space import Genome
from .randomness import reseed, settle_parents

RUNGS = "hybridnas:rungs"
# A trial's constraints as a list, of numbers that must not be positive: the older form, which the
# dashboard reads. Optuna 5 reads it too, and would count one in both forms twice.
CONSTRAINTS = "constraints"

Distributions = dict[str, CategoricalDistribution]


class Proposer:
    """Asks a sampler for genomes, and tells it how they did."""

    def __init__(
        self,
        genes: Mapping[str, Sequence[Option]],
        directions: Sequence[Direction],
        sampler: BaseSampler,
        num_hard: int = 0,
    ) -> None:
        """num_hard: so many of the constraints that a trial of the database has are hard."""
        self._num_hard = num_hard
        self.distributions: Distributions = {
            name: CategoricalDistribution(tuple(values)) for name, values in genes.items()
        }
        self._storage = InMemoryStorage()
        self._sampler = sampler
        settle_parents(sampler)
        self._study = optuna.create_study(
            storage=self._storage, sampler=sampler, directions=list(directions)
        )
        self._ids: dict[int, int] = {}  # number of the real trial -> id of its mirror

    def remember(self, trial: FrozenTrial, rungs: Sequence[Sequence[float]] = ()) -> None:
        """Mirrors a trial of the database, finished or still running. rungs: see `inform`."""
        mirrored = copy.copy(trial)
        # All keep the hard constraints, so that no sampler is bothered with them.
        known = trial.system_attrs
        told = {RUNGS: [list(rung) for rung in rungs]} if rungs else {}
        if excesses := known.get(CONSTRAINTS, [])[self._num_hard :]:
            told[CONSTRAINTS] = excesses
        mirrored.system_attrs = {n: v for n, v in known.items() if n != CONSTRAINTS} | told
        mirror = self._storage.create_new_trial(self._study._study_id, mirrored)
        if trial.state == TrialState.WAITING:  # else Optuna proposes it before it asks the sampler
            self._storage.set_trial_state_values(mirror, TrialState.RUNNING)
        self._ids[trial.number] = mirror

    def reseed(self, rng: random.Random) -> None:
        """The sampler draws on from these random numbers."""
        reseed(self._sampler, rng)

    def propose(self) -> tuple[int, Genome]:
        """A genome of the sampler's choice, and the id to settle it with."""
        trial = self._study.ask(dict(self.distributions))
        return trial._trial_id, dict(trial.params)

    def enqueue(self, genome: Genome) -> int:
        """The id to settle a genome with that is not the sampler's idea (a reference).

        A genetic sampler counts it to its current generation, so that it can be a parent.
        """
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(genome),
            distributions=dict(self.distributions),
        )
        mirror = self._storage.create_new_trial(self._study._study_id, template)
        if isinstance(self._sampler, BaseGASampler):
            self._sampler.get_trial_generation(self._study, self._storage.get_trial(mirror))
        return mirror

    def settle(self, mirror: int, genome: Genome) -> dict[str, Any]:
        """Fixes what the proposal became; the sampler's notes on it go with the real trial."""
        for name, value in genome.items():
            distribution = self.distributions[name]
            internal = distribution.to_internal_repr(value)
            self._storage.set_trial_param(mirror, name, internal, distribution)
        return dict(self._storage.get_trial(mirror).system_attrs)

    def link(self, mirror: int, number: int) -> None:
        """The real trial that a settled proposal has become."""
        self._ids[number] = mirror

    def forget(self, mirror: int) -> None:
        """A proposal that becomes no trial."""
        self._storage.set_trial_state_values(mirror, TrialState.FAIL)

    def inform(self, number: int, rungs: Sequence[Sequence[float]]) -> None:
        """What lower rungs said of a trial that has not ended: the values of its measured
        objectives, in their order, a row a rung from the lowest.

        A sampler finds them in the trial's system attribute RUNGS.
        """
        self._storage.set_trial_system_attr(self._ids[number], RUNGS, [list(r) for r in rungs])

    def prune(self, number: int) -> None:
        """A trial that will not reach the top rung."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.PRUNED)

    def tell(
        self, number: int, values: Sequence[float] | None, slacks: Sequence[float] | None = None
    ) -> None:
        """How a trial ended; None: it failed, and samplers do not learn from it.

        slacks: of all constraints, hard ones first; these are always kept, and no sampler is
        bothered with them.
        """
        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        mirror = self._ids[number]
        if slacks is not None:
            self._storage.set_trial_system_attr(mirror, CONSTRAINTS, list(slacks[self._num_hard :]))
        self._storage.set_trial_state_values(mirror, state, values)
