"""What our own samplers have in common: they propose whole genomes, from the trials alone."""

from __future__ import annotations

import abc
import random
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from ...space import Genome
from ..feasibility import Feasibility

Meaning = tuple[int, ...]


class SpaceSampler(BaseSampler, abc.ABC):
    """A sampler of Optuna's kind that knows the space and its hard constraints."""

    def __init__(self, hard: Feasibility) -> None:
        self._hard = hard
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(tuple(values))
            for name, values in hard.space.genes.items()
        }

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return dict(self._distributions)


class GenomeSampler(SpaceSampler):
    """One that keeps in mind what was seen.

    A search with its seed and its trials makes the same proposals again.
    """

    def __init__(self, hard: Feasibility, seed: int) -> None:
        super().__init__(hard)
        self._space = hard.space
        self._rng = random.Random(seed)
        self._seen: set[Meaning] = set()
        self._num_read = 0

    @abc.abstractmethod
    def propose(self, study: optuna.Study) -> Genome:
        """What is to be tried next."""

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self.propose(study)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """What is no gene of the space, if ever asked for."""
        assert isinstance(param_distribution, CategoricalDistribution)
        return self._rng.choice(param_distribution.choices)

    def _new_trials(self, study: optuna.Study) -> Sequence[FrozenTrial]:
        """Those that came since the last call; what they mean is seen from now on."""
        trials = study.get_trials(deepcopy=False)
        # The last one is that which is to be proposed now.
        new = [t for t in trials[self._num_read :] if t.params.keys() == self._space.genes.keys()]
        self._seen.update(self._space.categories(trial.params) for trial in new)
        self._num_read = max(self._num_read, len(trials) - 1)
        return new

    def _is_fresh(self, genome: Genome) -> bool:
        """Whether it keeps the constraints and means what no trial means yet."""
        if self._space.categories(genome) in self._seen:
            return False
        return self._hard.violation(self._hard.cost_of(genome)) == 0

    def _random(self, tries: int = 100) -> Genome:
        """A random genome, a fresh one if some try finds it."""
        genome = self._space.random_genome(self._rng)
        for _ in range(tries):
            drawn = self._hard.draw(self._rng)
            if drawn is not None and self._is_fresh(drawn):
                return drawn
        return genome
