"""How much each decision of a search matters for being among its best, and how sure that is."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import norm

from .choices import Choices
from .effects import CONFIDENCE, Floats
from .facts import ImportanceFact

if TYPE_CHECKING:
    from optuna import Study

FEWEST_TRIALS = 20  # for an importance of decisions
PARTS = 25  # of the trials, drawn for standard errors
_LARGEST = 500  # trials of a part
_TARGET = 0.1  # the best part of trials that importance asks about
_FEWEST_BEST = 5  # trials in that part (Optuna's advice)
_CRITICAL = float(norm.isf((1 - CONFIDENCE) / 2))


def best_share(trials: int) -> float:
    """The part of the trials that importance asks about: a tenth, of few trials more."""
    return max(_TARGET, min(0.5, _FEWEST_BEST / max(trials, 1)))


def importance_facts(losses: Floats, choices: Choices) -> tuple[ImportanceFact, ...]:
    """How much each decision matters for being among the best, as shares of 1, the largest first,
    with standard errors.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023), as Optuna has it, with decisions that do
    not apply left out of a trial. losses: lower is better. Empty with fewer than FEWEST_TRIALS.

    An error is by the delete-d jackknife (Shao and Wu, Annals of Statistics 17, 1989): the standard
    deviation of the share between random parts of the trials, a half of them each or _LARGEST,
    times the root of m / (n - m) for m of n trials.
    """
    trials = len(losses)
    if trials < FEWEST_TRIALS:
        return ()
    study, everything = _study(losses, choices), np.ones(trials, dtype=bool)
    found = _shares(study, everything)
    draw = np.random.default_rng(0)
    size = min(trials // 2, _LARGEST)
    parts = [_shares(study, draw.permutation(trials) < size) for _ in range(PARTS)]
    factor = (size / (trials - size)) ** 0.5
    drawn = {name: np.std([part.get(name, 0.0) for part in parts], ddof=1) for name in found}
    return tuple(
        ImportanceFact(decision=name, share=share, error=error, clear=share > _CRITICAL * error)
        for name, share in found.items()
        for error in [factor * float(drawn[name])]
    )


def _study(losses: Floats, choices: Choices) -> Study:
    """One of Optuna's, with the trials in their order."""
    # At first use: what this imports draws random numbers while it is imported.
    import optuna

    spaces = {
        gene: optuna.distributions.CategoricalDistribution(
            sorted({choice for choice in chosen if choice is not None})
        )
        for gene, chosen in choices.items()
        if any(choice is not None for choice in chosen)
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="minimize")
    study.add_trials(
        [
            optuna.trial.create_trial(
                value=float(loss),
                params={g: c for g in spaces if (c := choices[g][i]) is not None},
                distributions={g: d for g, d in spaces.items() if choices[g][i] is not None},
            )
            for i, loss in enumerate(losses)
        ]
    )
    return study


def _shares(study: Study, kept: np.ndarray) -> dict[str, float]:
    """By the kept trials of a study alone; the largest first."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    evaluator = PedAnovaImportanceEvaluator(target_quantile=best_share(len(kept)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of decisions that hardly ever apply; of a target
        return get_param_importances(
            study,
            evaluator=evaluator,
            # Optuna leaves out trials whose target is no number.
            target=lambda trial: (trial.value or 0.0) if kept[trial.number] else math.nan,
        )
