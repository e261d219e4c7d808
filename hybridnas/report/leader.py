"""Who leads in a study's first score, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from scipy.stats import t

from ..ablate import Ablation
from ..ablate.fresh import fresh_scores
from ..objectives import loss_sign, parted
from ..search.rows import Row
from ..search.view import StudyView
from ..search.words import export_folder, unseen_command
from .effects import CONFIDENCE
from .facts import FreshFact, LeaderFact


def leader_fact(
    view: StudyView, front: list[Row], cost: str, ablations: Sequence[Ablation]
) -> LeaderFact | None:
    """None before the first result. ablations: of the study's trials."""
    best = view.best(2)
    if not best:
        return None
    first, score = best[0], view.study.measured
    second = best[1] if len(best) > 1 else None
    gap = half = None
    if second is not None:
        gap = abs(first.value(score) - second.value(score))
        half = _half_width(view, first, second)
    thrifty = _thrifty(view, first, front, cost)
    own_cost, saved = first.known(cost), thrifty.known(cost) if thrifty else None
    return LeaderFact(
        trial=first.number,
        fresh=None if view.retrained else _fresh(view, first, second, ablations),
        unseen=_unseen(view, first),
        runner_up=second.number if second else None,
        gap=gap,
        gap_low=None if gap is None or half is None else gap - half,
        gap_high=None if gap is None or half is None else gap + half,
        clear=None if gap is None or half is None else gap > half,
        thrifty=thrifty.number if thrifty else None,
        thrifty_cost_share=saved / own_cost if saved is not None and own_cost else None,
    )


def _thrifty(view: StudyView, best: Row, front: list[Row], cost: str) -> Row | None:
    """The cheapest member that the scores do not tell apart from the best."""
    score = view.study.measured
    for row in sorted(front, key=lambda row: row.known(cost) or math.inf):
        half = _half_width(view, best, row)
        near = half is not None and abs(best.value(score) - row.value(score)) <= half
        if near and row.number != best.number:
            return row
    return None


def _half_width(view: StudyView, one: Row, other: Row) -> float | None:
    """Of the 95 % interval of the difference of two scores, taken as independent: Welch's t
    (Biometrika 34, 1947) over fresh seeds, the normal distribution for standard errors that came
    with a score; None where nothing is known of a score's error. Where both err on the same images
    it is too wide, but a paired test needs answers image by image, which are not kept."""
    variances, spent, score = 0.0, 0.0, view.study.measured
    for row in (one, other):
        error = row.error_of_mean(score)
        if error is None:
            return None
        variances += error**2
        spent += error**4 / (row.seeds - 1) if row.spread(score) else 0.0
    freedom = variances**2 / spent if spent else math.inf
    return _critical(freedom) * math.sqrt(variances)


def _unseen(view: StudyView, row: Row) -> str | None:
    study, own = view.study, parted(view.study.measured)[0] == ""
    if not own or row.evaluation is None or row.evaluation.weights is None:
        return None
    return unseen_command(export_folder(study.name, row.number), study.task.val)


def _fresh(
    view: StudyView, row: Row, second: Row | None, ablations: Sequence[Ablation]
) -> FreshFact | None:
    """By a twin test under the training that the trial was chosen by, the latest there is."""
    score = view.study.measured
    scores = fresh_scores(view, row, ablations)
    if not scores:
        return None
    sign, mean, seeds = loss_sign(score), fmean(scores), len(scores)
    spread = stdev(scores) if seeds > 1 else None
    half = spread and _critical(seeds - 1) * spread / seeds**0.5
    return FreshFact(
        mean=mean,
        low=mean - half if half else None,
        high=mean + half if half else None,
        spread=spread,
        seeds=seeds,
        gap=sign * (mean - row.value(score)),
        apart=None if second is None else abs(mean - second.value(score)),
        leads=None if second is None else sign * mean < sign * second.value(score),
    )


def _critical(freedom: float) -> float:
    """Student's t, two-sided."""
    return float(t.isf((1 - CONFIDENCE) / 2, freedom))
