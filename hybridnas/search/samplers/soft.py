"""Soft constraints, which are known only after training: how likely an architecture keeps them.

Each has a Gaussian process of its own over its excess (`Bound.excess`), and an improvement counts
times the probability that all are kept, as if they were independent (Gardner et al., "Bayesian
optimization with inequality constraints", ICML 2014).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from .gp import Floats, Inputs, Ints
from .history import Result
from .surrogate import RungResults, Surrogate, SurrogateFactory

_SMALLEST = 1e-12


class Kept:
    """Of one moment: surrogates of the excesses, one a constraint."""

    def __init__(self, surrogates: Sequence[Surrogate]) -> None:
        self._surrogates = surrogates

    def probability(self, inputs: Inputs) -> Floats:
        """(n,): that all constraints are kept."""
        total = np.ones(len(inputs))
        for surrogate in self._surrogates:
            mean, variance = surrogate.predict(inputs)
            total *= ndtr(-mean / np.sqrt(np.maximum(variance, _SMALLEST)))
        return total

    def expected(self, inputs: Inputs) -> NDArray[np.bool_]:
        """(n,): whether all constraints are kept by the models' means."""
        kept = np.ones(len(inputs), dtype=bool)
        for surrogate in self._surrogates:
            kept &= surrogate.mean(inputs) <= 0
        return kept


class SoftConstraints:
    """Fits `Kept` to growing results; holds a cache only."""

    def __init__(self, num_choices: Ints) -> None:
        self._num_choices = num_choices
        self._factories: list[SurrogateFactory] = []

    def build(self, results: Sequence[Result], inputs: Inputs) -> Kept:
        """inputs: of all results. Only trials that ended at the top say something."""
        known = [i for i, result in enumerate(results) if result.excesses]
        awaited = [i for i, result in enumerate(results) if result.running]
        number = len(results[known[0]].excesses) if len(known) > 1 else 0
        while len(self._factories) < number:
            self._factories.append(SurrogateFactory(self._num_choices))
        surrogates = []
        for place, factory in enumerate(self._factories[:number]):
            values = np.array([results[i].excesses[place] for i in known])
            rung = RungResults(inputs[known], values, inputs[awaited])
            surrogates.append(factory.build([rung]))
        return Kept(surrogates)
