"""What each choice of a decision does to a score at equal MACs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

Floats = NDArray[np.float64]

CONFIDENCE = 0.95  # of one interval
FEWEST = 3  # trials with a choice; of fewer no effect is told
_FEWEST_LEFT = 5  # degrees of freedom for the noise


@dataclass(frozen=True, slots=True)
class ChoiceEffect:
    """How far the score of trials with a choice lies from the mean over the decision's choices, at
    equal MACs: value, with an interval from low to high, and the probability p of a value so far
    from 0 where there is none. trials: how many have the choice."""

    choice: str
    value: float
    low: float
    high: float
    p: float
    trials: int


def choice_effects(
    scores: Floats, log_macs: Floats, choices: Sequence[str | None]
) -> list[ChoiceEffect]:
    """Of one decision, by the choices' names; numbers by their size.

    scores, log_macs: (n,). choices: n; None where the decision does not apply, or was not read.

    Least squares of the score on a parabola in log MACs and an effect for each choice (analysis of
    covariance; Montgomery, Design and Analysis of Experiments, 9th ed., section 15.3). That is the
    residual of the score after a smooth fit on log MACs, by choice, with what the choices
    themselves cost in MACs taken out as well (Frisch and Waugh, Econometrica 1, 1933). Intervals
    are Student's t with one variance for all. Other decisions are not held equal: a sampler that
    joins two choices gives both the same effect.

    Empty where fewer than two choices have FEWEST trials, where MACs alone tell the choices apart,
    and where too few trials are left to judge the noise by.
    """
    number = Counter(choice for choice in choices if choice is not None)
    names = sorted((c for c, trials in number.items() if trials >= FEWEST), key=_in_order)
    kept = np.array([choice in names for choice in choices], dtype=bool)
    if len(names) < 2:
        return []
    member = np.array([[c == name for name in names] for c in choices if c in names], dtype=float)
    sizes = log_macs[kept]
    z = (sizes - sizes.mean()) / (sizes.std() or 1.0)
    powers = [z**k for k in (1, 2) if len(np.unique(z)) > k]
    design = np.column_stack([member, *powers])
    left = len(design) - design.shape[1]
    if left < _FEWEST_LEFT or np.linalg.matrix_rank(design) < design.shape[1]:
        return []
    return _estimates(design, scores[kept], names, number, left)


def _in_order(choice: str) -> tuple[float, str]:
    try:
        return float(choice), ""
    except ValueError:
        return np.inf, choice


def _estimates(
    design: Floats, scores: Floats, names: Sequence[str], number: Counter[str], left: int
) -> list[ChoiceEffect]:
    """The first columns of the design say who has which of the named choices."""
    inverse = np.linalg.inv(design.T @ design)
    found = inverse @ (design.T @ scores)
    variance = float(((scores - design @ found) ** 2).sum()) / left
    contrasts = np.zeros((len(names), design.shape[1]))
    contrasts[:, : len(names)] = np.eye(len(names)) - 1 / len(names)
    values = contrasts @ found
    errors = np.sqrt(variance * np.einsum("ij,jk,ik->i", contrasts, inverse, contrasts))
    half = t.isf((1 - CONFIDENCE) / 2, left) * errors
    with np.errstate(divide="ignore", invalid="ignore"):  # scores without any noise
        p = np.nan_to_num(2 * t.sf(np.abs(values) / errors, left), nan=1.0)
    return [
        ChoiceEffect(
            name,
            float(values[i]),
            float(values[i] - half[i]),
            float(values[i] + half[i]),
            float(p[i]),
            number[name],
        )
        for i, name in enumerate(names)
    ]
