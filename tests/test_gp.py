"""The Gaussian process: against its definition, finite differences and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import PairwiseKernel

from hybridnas.search.samplers.gp import (
    Floats,
    Hyperparameters,
    Inputs,
    Kernel,
    Posterior,
    Scaling,
    fit,
    negative_log_posterior,
    prior_median,
)

CHOICES = np.array([3, 2, 4, 3])
JITTER = 1e-6


def inputs(number: int, seed: int, num_regressors: int = 2) -> Inputs:
    """Random architectures; a third of the last gene does not apply."""
    rng = np.random.default_rng(seed)
    categories = rng.integers(CHOICES, size=(number, 4))
    categories[rng.random(number) < 1 / 3, -1] = -1
    return Inputs(categories, rng.normal(3, 2, (number, num_regressors)))


def hyper(seed: int) -> Hyperparameters:
    rng = np.random.default_rng(seed)
    return Hyperparameters(rng.random(4), rng.random(4), 0.7, 0.1)


def covariance(left: Inputs, right: Inputs, scaling: Scaling, known: Hyperparameters) -> Floats:
    """By the definition, pair by pair."""
    phi, psi = scaling.regressors(left.regressors), scaling.regressors(right.regressors)
    found = phi @ psi.T
    for i, x in enumerate(left.categories):
        for j, y in enumerate(right.categories):
            found[i, j] += known.additive[x == y].sum()
            found[i, j] += known.amplitude * np.exp(-known.rates[x != y].sum())
    return found


def targets(of: Inputs, seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(0, 0.1, len(of))
    first, second, _, last = of.categories.T
    return 5 + 2 * (first == 1) - 1.0 * (second == last) + 0.3 * of.regressors[:, 0] + noise


def test_the_covariance_is_positive_definite_as_defined() -> None:
    seen, known = inputs(40, 0), hyper(1)
    rows = Kernel(CHOICES).one_hot(seen.categories)
    additive, exponential = Kernel(CHOICES).parts(known, rows, rows)
    nothing = Scaling(0.0, 1.0, np.zeros(2), np.full(2, np.inf))  # leaves the constant's 1
    np.testing.assert_allclose(
        1 + additive + exponential, covariance(seen, seen, nothing, known), atol=1e-12
    )
    for part in (additive, exponential):
        assert np.linalg.eigvalsh(part).min() > -1e-10
    assert Kernel(CHOICES).variance(known) == pytest.approx((additive + exponential)[0, 0])


def test_the_gradient_is_that_of_the_likelihood() -> None:
    seen, kernel = inputs(25, 2), Kernel(CHOICES)
    scaling = Scaling.of(seen, targets(seen))
    features = scaling.regressors(seen.regressors)
    given = (
        kernel,
        kernel.one_hot(seen.categories),
        features @ features.T,
        scaling.targets(targets(seen)),
    )
    logs = hyper(3).to_logs()
    value, gradient = negative_log_posterior(logs, *given)
    numeric = approx_fprime(logs, lambda at: negative_log_posterior(at, *given)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)
    dense = covariance(seen, seen, scaling, hyper(3)) + (0.1 + JITTER) * np.eye(25)
    y, away = scaling.targets(targets(seen)), logs - prior_median(4).to_logs()
    sign, log_det = np.linalg.slogdet(dense)
    assert sign == 1
    assert value == pytest.approx(
        0.5 * (y @ np.linalg.solve(dense, y) + log_det + away @ away), rel=1e-9
    )


def test_the_posterior_is_the_textbooks() -> None:
    seen, asked, known = inputs(30, 4), inputs(12, 5), hyper(6)
    y = targets(seen)
    scaling = Scaling.of(seen, y)
    noisy = covariance(seen, seen, scaling, known) + (known.noise + JITTER) * np.eye(30)
    cross = covariance(seen, asked, scaling, known)
    mean, variance = Posterior(seen, y, CHOICES, known).predict(asked)
    weights = np.linalg.inv(noisy)
    np.testing.assert_allclose(
        mean, y.mean() + y.std() * cross.T @ weights @ scaling.targets(y), rtol=1e-8
    )
    dense = covariance(asked, asked, scaling, known) - cross.T @ weights @ cross
    np.testing.assert_allclose(variance, y.std() ** 2 * np.diag(dense), rtol=1e-7)


def test_the_posterior_is_scikit_learns() -> None:
    seen, asked, known = inputs(30, 7), inputs(12, 8), hyper(9)
    y = targets(seen)
    scaling = Scaling.of(seen, y)

    def stacked(of: Inputs) -> Floats:
        return np.hstack([of.categories, scaling.regressors(of.regressors)])

    def metric(left: Floats, right: Floats, gamma: float) -> float:
        same = left[:4] == right[:4]
        together = known.amplitude * np.exp(-known.rates[~same].sum())
        return float(known.additive[same].sum() + together + left[4:] @ right[4:])

    peer = GaussianProcessRegressor(
        PairwiseKernel(metric=metric, gamma_bounds="fixed"), alpha=known.noise, optimizer=None
    ).fit(stacked(seen), scaling.targets(y))
    mean, sd = peer.predict(stacked(asked), return_std=True)
    found, variance = Posterior(seen, y, CHOICES, known).predict(asked)
    np.testing.assert_allclose(found, y.mean() + y.std() * mean, rtol=1e-4)
    np.testing.assert_allclose(np.sqrt(variance), y.std() * sd, rtol=1e-3)


def test_what_is_awaited_is_believed_at_its_mean() -> None:
    seen, awaited, asked, known = inputs(20, 10), inputs(5, 11), inputs(15, 12), hyper(13)
    y = targets(seen)
    plain = Posterior(seen, y, CHOICES, known)
    believing = Posterior(seen, y, CHOICES, known, awaited)
    mean, variance = plain.predict(asked)
    same, smaller = believing.predict(asked)
    np.testing.assert_allclose(same, mean, rtol=1e-9)
    # As if the mean had been measured there, in the scale of what was.
    scaling = Scaling.of(seen, y)
    both = Inputs(
        np.concatenate([seen.categories, awaited.categories]),
        np.concatenate([seen.regressors, awaited.regressors]),
    )
    noisy = covariance(both, both, scaling, known) + (known.noise + JITTER) * np.eye(25)
    cross = covariance(both, asked, scaling, known)
    dense = covariance(asked, asked, scaling, known) - cross.T @ np.linalg.solve(noisy, cross)
    np.testing.assert_allclose(smaller, y.std() ** 2 * np.diag(dense), rtol=1e-7)
    believed = np.concatenate([y, plain.predict(awaited)[0]])
    as_measured = cross.T @ np.linalg.solve(noisy, scaling.targets(believed))
    np.testing.assert_allclose(same, y.mean() + y.std() * as_measured, rtol=1e-8)
    assert (smaller < variance).all()


def test_fitted_hyperparameters_are_a_maximum_and_predict() -> None:
    seen, asked = inputs(80, 14), inputs(60, 15)
    y = targets(seen)
    known = fit(seen, y, CHOICES, max_steps=200)
    kernel, scaling = Kernel(CHOICES), Scaling.of(seen, y)
    features = scaling.regressors(seen.regressors)
    rows = kernel.one_hot(seen.categories)
    given = (kernel, rows, features @ features.T, scaling.targets(y))
    best, gradient = negative_log_posterior(known.to_logs(), *given)
    assert np.abs(gradient).max() < 0.05
    assert best < negative_log_posterior(prior_median(4).to_logs(), *given)[0]
    mean, variance = Posterior(seen, y, CHOICES, known).predict(asked)
    truth = targets(asked)
    assert np.mean((mean - truth) ** 2) < 0.05 * truth.var()
    inside = np.abs(mean - truth) < 2 * np.sqrt(variance + known.noise * y.var())
    assert inside.mean() > 0.85


def test_slopes_are_those_of_the_regressors() -> None:
    seen = inputs(60, 16)
    y = 3 * seen.regressors[:, 0] - 0.5 * seen.regressors[:, 1] + 7
    quiet = Hyperparameters(np.full(4, 1e-4), np.full(4, 1.0), 1e-4, 1e-4)
    slopes = Posterior(seen, y, CHOICES, quiet).slopes()
    np.testing.assert_allclose(slopes, [3, -0.5], rtol=0.01)


def test_targets_that_are_all_equal_are_predicted() -> None:
    seen = inputs(6, 17)
    y = np.full(6, 0.25)
    mean, variance = Posterior(seen, y, CHOICES, fit(seen, y, CHOICES)).predict(inputs(5, 18))
    np.testing.assert_allclose(mean, 0.25)
    assert np.isfinite(variance).all()
