"""A Gaussian process on categorical genes, small data and noise: who is how good, and how sure.

    y(x) = b^T phi(x) + f(x) + noise,   b ~ N(0, I)
    cov(f(x), f(x')) = sum_j v_j [x_j = x'_j] + a exp(-sum_j w_j [x_j != x'_j])

phi: a one and the regressors (standardised): the prior mean a + b log(MACs) + ... with its
coefficients integrated out (Rasmussen & Williams 2006, section 2.7). v_j: what a gene does by
itself. a, w_j: what genes do together, an exponential of the Hamming distance with automatic
relevance (the product of one kernel a gene: positive definite). Hyper-parameters are those of the
largest posterior (MAP), under independent normal priors of their logarithms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MIN_NOISE = 1e-6  # variance, of targets with variance 1: keeps the covariance invertible
_SPREAD = 1.0  # standard deviation of each logarithm's prior


@dataclass(frozen=True)
class Inputs:
    """What the process is told of n architectures.

    categories: (n, d), a gene's choice each; -1, a gene that does not apply, is a choice as any.
    regressors: (n, p), finite; a column that is constant tells nothing.
    """

    categories: Ints
    regressors: Floats

    def __getitem__(self, rows: list[int] | Ints | NDArray[np.bool_]) -> Inputs:
        return Inputs(self.categories[rows], self.regressors[rows])

    def __len__(self) -> int:
        return len(self.categories)


@dataclass(frozen=True)
class Hyperparameters:
    """additive, rates: (d,), the v_j and w_j; amplitude: a; noise: variance. All positive."""

    additive: Floats
    rates: Floats
    amplitude: float
    noise: float

    def to_logs(self) -> Floats:
        return np.log(np.concatenate([self.additive, self.rates, [self.amplitude, self.noise]]))

    @classmethod
    def from_logs(cls, logs: Floats) -> Hyperparameters:
        values = np.exp(logs)
        d = (len(values) - 2) // 2
        return cls(values[:d], values[d : 2 * d], float(values[-2]), float(values[-1]))


def prior_median(num_genes: int) -> Hyperparameters:
    """For targets of variance 1: half of it by genes alone, half by genes together, whose
    correlation falls to 1/e where half of the genes differ."""
    each = np.ones(num_genes) / num_genes
    return Hyperparameters(0.5 * each, 2 * each, 0.5, 0.05)


def one_hot(categories: Ints, num_choices: Ints) -> Floats:
    """(n, d) choices from -1 up -> (n, sum of num_choices + 1), a one for each gene."""
    n = len(categories)
    starts = np.concatenate([[0], np.cumsum(num_choices + 1)])
    found = np.zeros((n, starts[-1]))
    found[np.arange(n)[:, None], starts[:-1] + categories + 1] = 1.0
    return found


class Kernel:
    """The covariance of f for given numbers of choices a gene, (d,)."""

    def __init__(self, num_choices: Ints) -> None:
        self.num_choices = num_choices
        self._starts = np.concatenate([[0], np.cumsum(num_choices + 1)[:-1]])

    def one_hot(self, categories: Ints) -> Floats:
        return one_hot(categories, self.num_choices)

    def parts(self, hyper: Hyperparameters, left: Floats, right: Floats) -> tuple[Floats, Floats]:
        """Additive and exponential part between one-hot rows: two of (..., n, m)."""
        turned = right.swapaxes(-1, -2)
        additive = (left * self._spread(hyper.additive)) @ turned
        exponent = (left * self._spread(hyper.rates)) @ turned
        exponent -= hyper.rates.sum()
        np.exp(exponent, out=exponent)
        return additive, np.multiply(exponent, hyper.amplitude, out=exponent)

    def variance(self, hyper: Hyperparameters) -> float:
        """Of f, anywhere."""
        return float(hyper.additive.sum() + hyper.amplitude)

    def gradients(
        self, hyper: Hyperparameters, rows: Floats, exponential: Floats, weights: Floats
    ) -> Floats:
        """sum(weights * dK/dlog) for each log of additive, rates and amplitude, (2 d + 1,).

        rows: one-hot; exponential: that part between them; weights: (n, n), symmetric.
        """
        matches = np.einsum("nk,nk->k", rows, weights @ rows)
        additive = hyper.additive * np.add.reduceat(matches, self._starts)
        weighted = weights * exponential
        total = weighted.sum()
        matches = np.einsum("nk,nk->k", rows, weighted @ rows)
        rates = -hyper.rates * (total - np.add.reduceat(matches, self._starts))
        return np.concatenate([additive, rates, [total]])

    def _spread(self, by_gene: Floats) -> Floats:
        return np.repeat(by_gene, self.num_choices + 1)


@dataclass(frozen=True)
class Scaling:
    """Targets to mean 0 and variance 1, regressors likewise and with a one before them."""

    target_mean: float
    target_scale: float
    means: Floats
    scales: Floats

    @classmethod
    def of(cls, inputs: Inputs, targets: Floats) -> Scaling:
        return cls(
            float(targets.mean()),
            _positive(targets.std()[None])[0],
            inputs.regressors.mean(axis=0),
            _positive(inputs.regressors.std(axis=0)),
        )

    def targets(self, targets: Floats) -> Floats:
        return (targets - self.target_mean) / self.target_scale

    def regressors(self, regressors: Floats) -> Floats:
        ones = np.ones((len(regressors), 1))
        return np.hstack([ones, (regressors - self.means) / self.scales])


def _positive(spreads: Floats) -> Floats:
    return np.where(spreads > 1e-12, spreads, 1.0)


def negative_log_posterior(
    logs: Floats, kernel: Kernel, rows: Floats, linear: Floats, targets: Floats
) -> tuple[float, Floats]:
    """Of the hyper-parameters' logs given scaled targets (n,), up to a constant, and its gradient.

    rows: one-hot (n, k); linear: the prior covariance of b^T phi, (n, n). Rasmussen & Williams,
    eq. 5.8 and 5.9.
    """
    hyper = Hyperparameters.from_logs(logs)
    n = len(targets)
    additive, exponential = kernel.parts(hyper, rows, rows)
    covariance = linear + additive + exponential
    covariance[np.diag_indices(n)] += hyper.noise + _MIN_NOISE
    factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
    solved = cho_solve(factor, targets, check_finite=False)
    inverse = cho_solve(factor, np.eye(n), overwrite_b=True, check_finite=False)
    away = (logs - prior_median(len(kernel.num_choices)).to_logs()) / _SPREAD
    value = 0.5 * targets @ solved + np.log(np.diag(factor[0])).sum() + 0.5 * away @ away
    weights = inverse - np.outer(solved, solved)
    gradient = np.append(
        kernel.gradients(hyper, rows, exponential, weights), hyper.noise * np.trace(weights)
    )
    return float(value), 0.5 * gradient + away / _SPREAD


def fit(inputs: Inputs, targets: Floats, num_choices: Ints, max_steps: int = 40) -> Hyperparameters:
    """Hyper-parameters of the largest posterior that L-BFGS finds from the prior's median, for
    targets (n,) scaled to variance 1."""
    kernel, scaling = Kernel(num_choices), Scaling.of(inputs, targets)
    features = scaling.regressors(inputs.regressors)
    found = minimize(
        negative_log_posterior,
        prior_median(len(num_choices)).to_logs(),
        (
            kernel,
            kernel.one_hot(inputs.categories),
            features @ features.T,
            scaling.targets(targets),
        ),
        method="L-BFGS-B",
        jac=True,
        bounds=[(-12.0, 4.0)] * (2 * len(num_choices) + 2),
        options={"maxiter": max_steps},
    )
    return Hyperparameters.from_logs(found.x)


Predict = Callable[[Inputs], tuple[Floats, Floats]]


class Posterior:
    """The process given targets (n,) at inputs, with fixed hyper-parameters (Rasmussen & Williams,
    algorithm 2.1).

    believed: inputs whose results are awaited. They count as seen with what the model expects of
    them, which leaves means as they are and takes away their uncertainty (kriging believer,
    Ginsbourger et al. 2010).
    """

    def __init__(
        self,
        inputs: Inputs,
        targets: Floats,
        num_choices: Ints,
        hyper: Hyperparameters,
        believed: Inputs | None = None,
    ) -> None:
        self._kernel, self._hyper = Kernel(num_choices), hyper
        self._scaling = Scaling.of(inputs, targets)
        seen = _joined(inputs, believed)
        self._rows = self._kernel.one_hot(seen.categories)
        self._features = self._scaling.regressors(seen.regressors)
        covariance = self._covariance(self._rows, self._features)
        covariance[np.diag_indices(len(seen))] += hyper.noise + _MIN_NOISE
        n, scaled = len(inputs), self._scaling.targets(targets)
        # The factor of the first n rows is the first n rows of the factor.
        self._factor = np.linalg.cholesky(covariance)
        half = solve_triangular(self._factor[:n, :n], scaled, lower=True)
        # A belief at the mean is no surprise: nothing is added to the solution.
        half = np.concatenate([half, np.zeros(len(seen) - n)])
        self._solved = solve_triangular(self._factor, half, lower=True, trans=1)

    def predict(self, inputs: Inputs) -> tuple[Floats, Floats]:
        """Mean and variance of y without noise, (n,) each, in the targets' units."""
        cross, features = self._cross(inputs)
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        prior = self._kernel.variance(self._hyper) + np.einsum("np,np->n", features, features)
        variance = np.maximum(prior - np.einsum("mn,mn->n", half, half), 0.0)
        return self._mean(cross), self._scaling.target_scale**2 * variance

    def joint(self, inputs: Inputs, group: int) -> tuple[Floats, Floats]:
        """Mean (n,) and covariances (n / group, group, group) of neighbours in groups, without
        noise."""
        cross, features = self._cross(inputs)
        half = solve_triangular(self._factor, cross, lower=True, check_finite=False)
        rows = self._kernel.one_hot(inputs.categories).reshape(-1, group, self._rows.shape[1])
        features = features.reshape(-1, group, features.shape[1])
        halves = half.T.reshape(-1, group, len(half))
        additive, exponential = self._kernel.parts(self._hyper, rows, rows)
        covariance = additive + exponential + features @ features.swapaxes(1, 2)
        covariance -= halves @ halves.swapaxes(1, 2)
        return self._mean(cross), self._scaling.target_scale**2 * covariance

    def mean(self, inputs: Inputs) -> Floats:
        """The mean alone, for less."""
        return self._mean(self._cross(inputs)[0])

    def _mean(self, cross: Floats) -> Floats:
        return self._scaling.target_mean + self._scaling.target_scale * (self._solved @ cross)

    def _cross(self, inputs: Inputs) -> tuple[Floats, Floats]:
        """Covariance of what was seen and these, and the features of these."""
        features = self._scaling.regressors(inputs.regressors)
        return self._covariance(self._kernel.one_hot(inputs.categories), features), features

    def slopes(self) -> Floats:
        """The expected change of y with each regressor by itself, (p,), in their units."""
        scaled = self._features.T @ self._solved
        return scaled[1:] * self._scaling.target_scale / self._scaling.scales

    def _covariance(self, rows: Floats, features: Floats) -> Floats:
        """Between what was seen and other points, (n, m)."""
        additive, exponential = self._kernel.parts(self._hyper, self._rows, rows)
        return self._features @ features.T + additive + exponential


def _joined(inputs: Inputs, more: Inputs | None) -> Inputs:
    if more is None:
        return inputs
    return Inputs(
        np.concatenate([inputs.categories, more.categories]),
        np.concatenate([inputs.regressors, more.regressors]),
    )
