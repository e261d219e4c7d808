"""The time of blocks that were not timed, from those of their group that were.

A Gaussian process over the logarithm of time, one for each group: a linear trend in log MACs, log
parameters, log width and the options, and a smooth rest.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .pieces import Piece, features, group

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

_HELD_OUT = 0.2


def estimate(
    times: Mapping[Piece, float], wanted: Sequence[Piece], seed: int
) -> tuple[dict[Piece, float], float | None]:
    """Times of the wanted blocks, and the median relative error of such estimates.

    times: of the timed ones, in any unit. The error is that on a fifth of each group's timed
    blocks, estimated from the others; None where nothing is wanted.
    """
    known: dict[object, list[Piece]] = {}
    for piece in times:
        if piece.kind == "block":
            known.setdefault(group(piece), []).append(piece)
    asked: dict[object, list[Piece]] = {}
    for piece in wanted:
        asked.setdefault(group(piece), []).append(piece)
    found: dict[Piece, float] = {}
    errors: list[float] = []
    for name, pieces in asked.items():
        timed = list(known[name])
        random.Random(seed).shuffle(timed)
        out = timed[: max(1, round(_HELD_OUT * len(timed)))]
        model = _fitted(timed[len(out) :], times)
        for piece, ms in _predicted(model, out).items():
            errors.append(abs(ms / times[piece] - 1))
        found |= _predicted(_fitted(timed, times), pieces)
    return found, float(np.median(errors)) if errors else None


def _fitted(pieces: Sequence[Piece], times: Mapping[Piece, float]) -> Pipeline:
    # Imported at use: it takes long, and draws from random's own generator.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kernel = (
        ConstantKernel() * RBF(10.0, (1.0, 1e3))
        + ConstantKernel() * DotProduct()
        + WhiteKernel(1e-3)
    )
    process = GaussianProcessRegressor(kernel, normalize_y=True)
    model = make_pipeline(DictVectorizer(sparse=False), StandardScaler(), process)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound of the kernel's was met
        return model.fit([_numbers(p) for p in pieces], np.log([times[p] for p in pieces]))


def _predicted(model: Pipeline, pieces: Sequence[Piece]) -> dict[Piece, float]:
    logs = model.predict([_numbers(piece) for piece in pieces])
    return dict(zip(pieces, np.exp(logs).tolist(), strict=True))


def _numbers(piece: Piece) -> dict[str, str | float]:
    cost = piece.count()
    return {
        **features(piece),
        "log width": math.log(piece.width),
        "log MACs": math.log(max(1, cost.macs)),
        "log params": math.log(max(1, cost.params)),
    }
