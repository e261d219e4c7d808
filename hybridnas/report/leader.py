"""Who leads in a study's first score, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, stdev

from scipy.stats import t

from ..ablate import Ablation
from ..ablate.fresh import fresh_scores
from ..objectives import loss_sign, parted
from ..search.rows import Row
from ..search.view import StudyView
from ..search.words import export_folder, unseen_command
from .effects import CONFIDENCE
from .facts import FreshFact, FreshGapFact, LeaderFact


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
    own, others = (_fresh(view, row, ablations) for row in (first, second))
    once = [row for row in front if row is not first and not fresh_scores(view, row, ablations)]
    chosen_for = replace(first, fresh=()).value(score) if first.fresh else None
    kept, folder = _is_kept(view, first), export_folder(view.study.name, first.number)
    own_cost, saved = first.known(cost), thrifty.known(cost) if thrifty else None
    return LeaderFact(
        trial=first.number,
        fresh=own,
        kept=kept,
        unseen=unseen_command(folder, view.study.task) if kept else None,
        runner_up=second.number if second else None,
        gap=gap,
        gap_low=None if gap is None or half is None else gap - half,
        gap_high=None if gap is None or half is None else gap + half,
        clear=None if gap is None or half is None else gap > half,
        runner_up_fresh=others,
        fresh_gap=_fresh_gap(view, own, second, others),
        chosen_for=chosen_for,
        fell=None if chosen_for is None else loss_sign(score) * (first.value(score) - chosen_for),
        once=0 if view.retrained else len(once),
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
    errors, score = [], view.study.measured
    for row in (one, other):
        error = row.error_of_mean(score)
        if error is None:
            return None
        errors.append((error**2, row.seeds - 1 if row.spread(score) else math.inf))
    return _welch(errors)


def _welch(errors: Sequence[tuple[float, float]]) -> float:
    """The half width by variances of means and their degrees of freedom."""
    total = sum(variance for variance, _ in errors)
    spent = sum(variance**2 / freedom for variance, freedom in errors)
    return _critical(total**2 / spent if spent else math.inf) * math.sqrt(total)


def _is_kept(view: StudyView, row: Row) -> bool:
    """Whether there are weights of the score's task."""
    own = parted(view.study.measured)[0] == ""
    return own and row.evaluation is not None and row.evaluation.weights is not None


def _fresh(view: StudyView, row: Row | None, ablations: Sequence[Ablation]) -> FreshFact | None:
    """By a twin test under the training that the trial was chosen by, the latest there is."""
    score = view.study.measured
    scores = [] if row is None or view.retrained else fresh_scores(view, row, ablations)
    if row is None or not scores:
        return None
    mean, seeds = fmean(scores), len(scores)
    spread = stdev(scores) if seeds > 1 else None
    half = spread and _critical(seeds - 1) * spread / seeds**0.5
    return FreshFact(
        mean=mean,
        low=mean - half if half else None,
        high=mean + half if half else None,
        spread=spread,
        seeds=seeds,
        gap=loss_sign(score) * (mean - row.value(score)),
    )


def _fresh_gap(
    view: StudyView, own: FreshFact | None, second: Row | None, others: FreshFact | None
) -> FreshGapFact | None:
    """Of the leader's mean `own` to the next best's, `others`, or to its score without one."""
    if own is None or second is None:
        return None
    score = view.study.measured
    value = others.mean if others else second.value(score)
    ahead = loss_sign(score) * (value - own.mean)
    means = [each for each in (own, others) if each is not None]
    errors = [(each.spread**2 / each.seeds, each.seeds - 1) for each in means if each.spread]
    half = _welch(errors) if len(errors) == 2 else None
    return FreshGapFact(
        apart=abs(ahead),
        leads=ahead > 0,
        low=None if half is None else ahead - half,
        high=None if half is None else ahead + half,
        clear=None if half is None else abs(ahead) > half,
    )


def _critical(freedom: float) -> float:
    """Student's t, two-sided."""
    return float(t.isf((1 - CONFIDENCE) / 2, freedom))
