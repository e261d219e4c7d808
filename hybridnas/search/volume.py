"""Hypervolume with a reference point by objectives' names: what a front is worth, in one number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..objectives import SHARES, is_cost, loss_sign, parted
from ..pareto import Floats as Floats
from ..pareto import hypervolume
from .words import point_words

if TYPE_CHECKING:
    from .rows import Row
    from .view import StudyView

FIRST = 10  # results of a study; those that samplers draw at random before they have learned


def searched(view: StudyView) -> list[Row]:
    """The results of a study with the search's own scores."""
    return [replace(row, fresh=()) for row in view.finished]


def reference_point(views: Iterable[StudyView]) -> dict[str, float]:
    """A value for each objective that counts as nothing, the same for all of these studies.

    Of what is measured a tenth beyond the worst of their first results, FIRST of each, by the
    range of these (after Ishibuchi et al., Evolutionary Computation 2018): from a score of 0 the
    smallest network alone would be worth nearly all (studies/LOG.md). Of a cost, where all of them
    limit it, the largest limit, else the largest value of any result that keeps the soft
    constraints. A final retraining changes none of it. Their objectives must be the same.
    """
    every = list(views)
    results = [(view.study.soft(), searched(view)) for view in every]
    first = [row for _, rows in results for row in rows[:FIRST]]
    kept = [row for soft, rows in results for row in rows if row.keeps(soft)]
    found = {}
    for name in every[0].objectives:
        bounds = [(view.study.bounds() | view.study.soft()).get(name) for view in every]
        limits = [bound.max for bound in bounds if bound is not None and bound.max is not None]
        if len(limits) == len(every):
            found[name] = max(limits)
        elif is_cost(name):
            found[name] = max((row.value(name) for row in kept), default=0.0)
        else:
            losses = [loss_sign(name) * row.value(name) for row in first] or [0.0]
            beyond = max(losses) + 0.1 * (max(losses) - min(losses))
            found[name] = loss_sign(name) * beyond
    return found


def ideal_point(names: Iterable[str]) -> dict[str, float]:
    """The best that there can be of each objective: 1 of what is a share of 1, 0 of all else."""
    return {name: 1.0 if parted(name)[1] in SHARES else 0.0 for name in names}


def volume_words(value: float, reference: Mapping[str, float]) -> str:
    """`0.5382 of the box from top1 0.0000, macs 40.0 M (reference point) to top1 1.0000, macs 0`"""
    return f"{value:.4f} of the {box_words(reference)}"


def box_words(reference: Mapping[str, float]) -> str:
    """What hypervolumes are shares of."""
    ideal = point_words(ideal_point(reference))
    return f"box from {point_words(reference)} (reference point) to {ideal}"


def volume(losses: Floats, reference: Mapping[str, float]) -> float:
    """What rows dominate, as a share of the box between the reference point and the ideal one.

    losses: (n, objectives) in the order of the reference, signs such that lower is better.
    """
    point = np.array([loss_sign(name) * value for name, value in reference.items()])
    ideal = np.array([loss_sign(name) * v for name, v in ideal_point(reference).items()])
    box = float(np.prod(point - ideal))
    return hypervolume(losses, point) / box if box > 0 else 0.0


def attainment(fronts: Sequence[Floats], share: float) -> Floats:
    """The corners of the surface that this share of fronts reaches, for two objectives.

    fronts: each (n, 2), lower is better. Returns (k, 2), rising in the first loss: at that loss,
    the second one is reached by `share` of them, at least by one. The empirical attainment
    function of Grunert da Fonseca, Fonseca and Hall (EMO 2001).
    """
    wanted = max(1, int(np.ceil(share * len(fronts) - 1e-9)))
    steps = np.unique(np.concatenate([front[:, 0] for front in fronts]))
    reached = np.full((len(fronts), len(steps)), np.inf)
    for row, front in zip(reached, fronts, strict=True):
        for first, second in front:
            row[steps >= first] = np.minimum(row[steps >= first], second)
    level = np.sort(reached, axis=0)[wanted - 1]
    corners = np.stack([steps, level], axis=1)[np.isfinite(level)]
    falls = np.append(True, np.diff(corners[:, 1]) < 0)[: len(corners)]
    return corners[falls]
