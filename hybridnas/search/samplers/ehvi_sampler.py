"""The sampler `ehvi`: a Gaussian process of what is measured, exact costs, closed-form improvement.

Costs (MACs, parameters, latency by table) are known before training, so the process models what is
measured only, and the expected hypervolume improvement is closed (`ehvi`). Proposals keep the hard
constraints and mean something not seen; results that are awaited are believed to be what the model
expects. The front that is to be improved is that of the model's means, not of noisy results, among
what is expected to keep the soft constraints.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from ...errors import ConfigError
from ...objectives import Direction, is_cost
from ...pareto import non_dominated
from ..feasibility import Feasibility
from .candidates import Acquisition, Candidates
from .ehvi import expected_hypervolume_improvement
from .encoding import Encoder
from .genomes import SpaceSampler
from .gp import Floats, Inputs, Ints
from .history import Goals, Result, read_history
from .reference_point import beyond_worst, cost_limits
from .soft import SoftConstraints
from .surrogate import RungResults, Surrogate, SurrogateFactory

_MIN_RESULTS = 5  # with fewer at a rung, there is no model of it


class EhviSampler(SpaceSampler):
    """Proposes the architecture with the largest expected hypervolume improvement.

    State is a cache only: proposals follow from the seed and the study's trials. The first
    startup_trials are random.
    """

    def __init__(
        self,
        hard: Feasibility,
        objectives: Mapping[str, Direction],
        seed: int,
        startup_trials: int = 10,
    ) -> None:
        """Raises ConfigError where nothing of the objectives is measured, or where more than one is
        and BoTorch is missing."""
        super().__init__(hard)
        self._goals, self._startup = Goals.of(objectives), startup_trials
        if len(self._goals.signs) > 1 and importlib.util.find_spec("botorch") is None:
            measured = ", ".join(name for name in objectives if not is_cost(name))
            raise ConfigError(
                f"sampler ehvi needs BoTorch for more than one measured objective ({measured}): "
                f"pip install 'hybridnas[botorch]', or take another sampler"
            )
        self._encoder = Encoder(hard)
        self._candidates = Candidates(self._encoder, seed)
        self._factories = [SurrogateFactory(self._encoder.num_choices) for _ in self._goals.signs]
        self._soft = SoftConstraints(self._encoder.num_choices)
        self._rows: dict[int, Ints] = {}  # of finished trials, which do not change
        self._random = RandomSampler(seed=seed % 2**32)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A whole genome; nothing where all that is feasible seems to have been seen."""
        others = (t for t in study.get_trials(deepcopy=False) if t.number != trial.number)
        row = self._propose(read_history(others, self._goals))
        return {} if row is None else self._encoder.genome(row)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _propose(self, results: list[Result]) -> Ints | None:
        step, rows = len(results), self._rows_of(results)
        inputs = self._encoder.inputs(rows)
        seen = {categories.tobytes() for categories in inputs.categories}
        live = np.array([not result.failed for result in results], dtype=bool)
        rungs = [self._rungs(results, inputs, i) for i in range(len(self._factories))]
        if live.sum() < self._startup or not all(rungs):
            drawn, _ = self._candidates.drawn(step, seen)
            return drawn[0] if len(drawn) else None
        surrogates = [
            factory.build(known) for factory, known in zip(self._factories, rungs, strict=True)
        ]
        means = np.column_stack([surrogate.mean(inputs[live]) for surrogate in surrogates])
        costs = self._costs(rows[live])
        kept = self._soft.build(results, inputs)
        feasible = kept.expected(inputs[live])
        # A front is made of what is expected to keep the soft constraints, if anything is.
        among = feasible if feasible.any() else np.ones(len(feasible), dtype=bool)
        front = _front(np.hstack([means, costs]), among)
        limits = cost_limits(self._goals, costs, self._hard.bounds)
        if len(surrogates) == 1:
            acquisition = self._closed_form(surrogates[0], means[:, 0], costs, front, limits)
        else:
            acquisition = self._monte_carlo(
                surrogates, inputs[live][among], costs[among], beyond_worst(means), limits, step
            )

        def where_kept(rows: Ints, inputs: Inputs) -> Floats:
            likely = kept.probability(inputs)
            # Before anything keeps the constraints, that is what is looked for.
            return likely * acquisition(rows, inputs) if feasible.any() else likely

        return self._candidates.best(where_kept, rows[live][front], step, seen)

    def _closed_form(
        self,
        surrogate: Surrogate,
        mean: Floats,
        costs: Floats,
        front: NDArray[np.bool_],
        limits: Floats,
    ) -> Acquisition:
        """The acquisition, given means and costs of what was proposed."""
        worst = float(beyond_worst(mean[:, None])[0])

        def improvement(rows: Ints, inputs: Inputs) -> Floats:
            expected, variance = surrogate.predict(inputs)
            return expected_hypervolume_improvement(
                expected,
                np.sqrt(variance),
                self._costs(rows),
                mean[front],
                costs[front],
                worst,
                limits,
            )

        return improvement

    def _monte_carlo(
        self,
        surrogates: list[Surrogate],
        baseline: Inputs,
        costs: Floats,
        worst: Floats,
        limits: Floats,
        seed: int,
    ) -> Acquisition:
        """Likewise, where several objectives are random, given what is to be improved on."""
        from .noisy_ehvi import NoisyImprovement  # BoTorch, which not everybody has

        improvement = NoisyImprovement(surrogates, baseline, costs, worst, limits, seed)
        # Not its logarithm: it is to be multiplied with a probability.
        return lambda rows, inputs: np.exp(improvement(inputs, self._costs(rows)))

    def _costs(self, rows: Ints) -> Floats:
        """The costs that are objectives, as losses, (n, k)."""
        return self._encoder.costs(rows, self._goals.costs) * np.array(self._goals.cost_signs)

    def _rows_of(self, results: list[Result]) -> Ints:
        """Choices of every trial, (n, d)."""
        found = []
        for result in results:
            row = self._rows.get(result.number)
            if row is None:
                row = self._encoder.choices([result.genome])[0]
                if not result.running:
                    self._rows[result.number] = row
            found.append(row)
        return np.array(found, dtype=np.int64).reshape(len(found), len(self._encoder.num_choices))

    def _rungs(self, results: list[Result], inputs: Inputs, objective: int) -> list[RungResults]:
        """What is known at each rung, from the lowest up to where too little is known."""
        top = max((len(result.rungs) for result in results), default=0)
        found = []
        for rung in range(top + 1):
            losses = [result.loss(rung, top, objective) for result in results]
            known = [i for i, loss in enumerate(losses) if loss is not None]
            if len(known) < _MIN_RESULTS:
                break
            awaited = [i for i, r in enumerate(results) if r.running and losses[i] is None]
            values = np.array([losses[i] for i in known], dtype=float)
            found.append(RungResults(inputs[known], values, inputs[awaited]))
        return found


def _front(losses: Floats, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of the losses (n, m) are not dominated among these."""
    front = np.zeros(len(losses), dtype=bool)
    front[among] = non_dominated(losses[among])
    return front
