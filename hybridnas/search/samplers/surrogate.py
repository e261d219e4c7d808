"""What results say about architectures that were not trained: one process a rung, chained.

The posterior mean of a rung is a regressor of the next, and its uncertainty, times the square of
the regression's slope, is added to the next one's: recursive co-kriging (Le Gratiet & Garnier,
"Recursive co-kriging model for design of computer experiments with multiple levels of fidelity",
2014), which is Kennedy & O'Hagan's autoregression (2000) where the designs are nested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .gp import Floats, Hyperparameters, Inputs, Ints, Posterior, fit

_MAX_FITTED = 256  # results that hyper-parameters are fitted to; what is known uses all


@dataclass(frozen=True)
class RungResults:
    """losses (n,) of what was evaluated at a rung, in the order of its end; believed: what is
    awaited there."""

    inputs: Inputs
    losses: Floats
    believed: Inputs


class Surrogate:
    """Mean and variance of the loss at the highest rung of those given."""

    def __init__(self, posteriors: Sequence[Posterior]) -> None:
        self._posteriors = posteriors

    def predict(self, inputs: Inputs) -> tuple[Floats, Floats]:
        """(n,) each, without noise."""
        first, *others = self._posteriors
        mean, variance = first.predict(inputs)
        for posterior in others:
            below = variance * posterior.slopes()[-1] ** 2
            mean, variance = posterior.predict(_with_column(inputs, mean))
            variance += below
        return mean, variance

    def joint(self, inputs: Inputs, group: int) -> tuple[Floats, Floats]:
        """Mean (n,) and covariances (n / group, group, group) of neighbours in groups."""
        first, *others = self._posteriors
        mean, covariance = first.joint(inputs, group)
        for posterior in others:
            below = covariance * posterior.slopes()[-1] ** 2
            mean, covariance = posterior.joint(_with_column(inputs, mean), group)
            covariance += below
        return mean, covariance

    def mean(self, inputs: Inputs) -> Floats:
        first, *others = self._posteriors
        mean = first.mean(inputs)
        for posterior in others:
            mean = posterior.mean(_with_column(inputs, mean))
        return mean


class SurrogateFactory:
    """Fits surrogates to growing results; hyper-parameters are kept between two refits."""

    def __init__(self, num_choices: Ints) -> None:
        self._num_choices = num_choices
        self._fitted: dict[tuple[int, int], Hyperparameters] = {}

    def build(self, rungs: Sequence[RungResults]) -> Surrogate:
        """rungs: lowest first, each with at least two results."""
        posteriors: list[Posterior] = []
        for rung, results in enumerate(rungs):
            inputs, believed = results.inputs, results.believed
            if posteriors:
                below = Surrogate(posteriors)
                inputs = _with_column(inputs, below.mean(inputs))
                believed = _with_column(believed, below.mean(believed))
            hyper = self._hyperparameters(rung, inputs, results.losses)
            losses = clipped(results.losses)
            posteriors.append(Posterior(inputs, losses, self._num_choices, hyper, believed))
        return Surrogate(posteriors)

    def _hyperparameters(self, rung: int, inputs: Inputs, losses: Floats) -> Hyperparameters:
        number = refit_size(len(losses))
        known = self._fitted.get((rung, number))
        if known is None:
            rows = np.unique(np.linspace(0, number - 1, min(number, _MAX_FITTED)).astype(int))
            known = fit(inputs[rows], clipped(losses[:number])[rows], self._num_choices)
            self._fitted = {k: v for k, v in self._fitted.items() if k[0] != rung}
            self._fitted[rung, number] = known
        return known


def refit_size(number: int) -> int:
    """Of how many results, the oldest, hyper-parameters are those: every sixth, later every
    sixteenth part, so that it follows from the number alone."""
    size = min(number, 2)
    while (later := size + max(6, size // 16)) <= number:
        size = later
    return size


def clipped(losses: Floats) -> Floats:
    """Losses (n,) above Q3 + 3 IQR brought down to it (Tukey's outer fence): a training that went
    wrong says little about how good the rest is. The inner fence, at 1.5, also cuts off what is
    small and no worse than its size, so that the cheap end of the front is not looked for."""
    lower, upper = np.percentile(losses, [25, 75])
    return np.minimum(losses, upper + 3 * (upper - lower))


def _with_column(inputs: Inputs, column: Floats) -> Inputs:
    return Inputs(inputs.categories, np.column_stack([inputs.regressors, column]))
