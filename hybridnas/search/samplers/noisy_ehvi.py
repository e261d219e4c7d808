"""Expected hypervolume improvement where two or more objectives are random: BoTorch's qLogNEHVI.

The logarithm of the noisy expected hypervolume improvement (Daulton, Balandat & Bakshy, "Parallel
Bayesian optimization of multiple noisy objectives with expected hypervolume improvement", 2021;
Ament et al., "Unexpected improvements to expected improvement for Bayesian optimization", 2023):
Monte Carlo over joint draws of what was evaluated and the candidate, with a front a draw. The
objectives' processes are ours, independent of each other; known costs are outcomes without doubt.
Only this module needs BoTorch, and only it and its caller's check know of it.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .gp import Floats, Inputs
from .surrogate import Surrogate

with warnings.catch_warnings():  # importing them compiles functions, which warns
    warnings.simplefilter("ignore")
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.models.deterministic import GenericDeterministicModel
    from botorch.models.model import Model, ModelList
    from botorch.posteriors.gpytorch import GPyTorchPosterior
    from botorch.sampling.get_sampler import get_sampler
    from botorch.sampling.list_sampler import ListSampler
    from botorch.sampling.normal import IIDNormalSampler, SobolQMCNormalSampler
    from gpytorch.distributions import MultivariateNormal

_DRAWS = 64
_JITTER = 1e-6  # of outcomes that span about 1
_CHUNK = 64  # candidates at a time


class _Process(Model):
    """A surrogate as BoTorch's model of one outcome: 0 at the reference point, 1 at the best."""

    def __init__(self, surrogate: Surrogate, of: Inputs, worst: float, span: float) -> None:
        super().__init__()
        self._surrogate, self._worst, self._span = surrogate, worst, span
        self._genes, self._regressors = of.categories.shape[1], of.regressors.shape[1]

    @property
    def num_outputs(self) -> int:
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        return torch.Size()

    def posterior(self, X: Tensor, *_: object, **__: object) -> GPyTorchPosterior:
        """Joint over the q points of (..., q, columns): see `_columns`."""
        points = X.detach().numpy()
        flat = points.reshape(-1, points.shape[-1])
        regressors = flat[:, self._genes : self._genes + self._regressors]
        inputs = Inputs(flat[:, : self._genes].astype(np.int64), regressors)
        mean, covariance = self._surrogate.joint(inputs, points.shape[-2])
        shape = points.shape[:-1]
        loc = torch.from_numpy((self._worst - mean) / self._span).reshape(shape)
        spread = torch.from_numpy(covariance / self._span**2).reshape(*shape, shape[-1])
        return GPyTorchPosterior(
            MultivariateNormal(loc, spread + _JITTER * torch.eye(shape[-1], dtype=torch.float64))
        )


class NoisyImprovement:
    """Log improvement of candidates over what was evaluated, or is awaited.

    baseline: of those the inputs, and (n, k) known costs as losses. worst, limits: the reference
    point, of measured and of known losses. seed: of the draws, the same for all candidates.
    """

    def __init__(
        self,
        surrogates: list[Surrogate],
        baseline: Inputs,
        costs: Floats,
        worst: Floats,
        limits: Floats,
        seed: int,
    ) -> None:
        predicted = [surrogate.predict(baseline) for surrogate in surrogates]
        means = np.column_stack([mean for mean, _ in predicted])
        sds = np.sqrt(np.column_stack([variance for _, variance in predicted]))
        kept = perhaps_on_front(means, sds, costs)
        best = np.concatenate([means.min(axis=0), costs.min(axis=0)])
        reference = np.concatenate([worst, limits])
        spans = np.where(reference > best, reference - best, 1.0)
        split = len(surrogates)
        models: list[Model] = [
            _Process(surrogate, baseline, float(at), float(span))
            for surrogate, at, span in zip(surrogates, worst, spans[:split], strict=True)
        ]
        if len(limits):
            models.append(_known(limits, spans[split:]))
        model, points = ModelList(*models), _columns(baseline, costs)[torch.from_numpy(kept)]
        with torch.no_grad(), warnings.catch_warnings():
            # BoTorch compiles a part of it where it finds a compiler, and says where it does not.
            warnings.simplefilter("ignore")
            self._improvement = qLogNoisyExpectedHypervolumeImprovement(
                model,
                torch.zeros(len(reference), dtype=torch.float64),
                points,
                _sampler([outcome.posterior(points) for outcome in models], seed),
                cache_root=False,
            )

    def __call__(self, inputs: Inputs, costs: Floats) -> Floats:
        """(n,), of candidates."""
        if not len(inputs):
            return np.empty(0)
        with torch.no_grad():
            points = _columns(inputs, costs).unsqueeze(1)
            parts = [self._improvement(part) for part in points.split(_CHUNK)]
        return torch.cat(parts).numpy()


def _sampler(posteriors: list[Any], seed: int) -> ListSampler:
    """Draws of each outcome by itself: BoTorch's own choice for a list gives all of them the same
    seed, and with it the same random numbers, so that objectives would rise and fall together."""
    draws = torch.Size([_DRAWS])
    samplers = [get_sampler(p, draws, seed=seed) for p in posteriors]
    for index, sampler in enumerate(samplers):
        if isinstance(sampler, SobolQMCNormalSampler):  # whose dimensions correlate between seeds
            samplers[index] = IIDNormalSampler(draws, seed=seed + 7919 * index)
    return ListSampler(*samplers)


def _known(limits: Floats, spans: Floats) -> GenericDeterministicModel:
    """Known costs as outcomes: 0 at the limit, 1 at the least."""
    at, span = torch.from_numpy(limits), torch.from_numpy(spans)
    number = len(limits)
    return GenericDeterministicModel(lambda X: (at - X[..., -number:]) / span, number)


def _columns(inputs: Inputs, costs: Floats) -> Tensor:
    """(n, genes + regressors + costs)."""
    return torch.from_numpy(np.hstack([inputs.categories, inputs.regressors, costs]))


def perhaps_on_front(means: Floats, sds: Floats, costs: Floats) -> NDArray[np.bool_]:
    """Which points may be on the front, (n,): not dominated by another's means even where they are
    two standard deviations better than expected. A draw's front is made of these."""
    hopeful = np.hstack([means - 2 * sds, costs])
    known = np.hstack([means, costs])
    beaten = np.ones((len(known), len(known)), dtype=bool)  # [i, j]: j by i
    strictly = np.zeros_like(beaten)
    for good, hoped in zip(known.T, hopeful.T, strict=True):
        beaten &= good[:, None] <= hoped
        strictly |= good[:, None] < hoped
    return np.logical_not((beaten & strictly).any(axis=0))
