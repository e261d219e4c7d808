"""Which decisions of a search mattered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import SpaceError
from ..objectives import best, named, parted
from ..parts import Option
from ..search.rows import Row
from ..space import SearchSpace
from .effects import CONFIDENCE, choice_effects
from .facts import DecisionFacts, EffectFact, ImportanceFact

FEWEST_TRIALS = 20  # for an importance of decisions
_TARGET = 0.1  # the best part of trials that importance asks about
_FEWEST_BEST = 5  # trials in that part (Optuna's advice)
_ERROR = 0.05  # of all effects of a score together

Choices = Mapping[str, Sequence[str | None]]
"""What each trial chose, by decision; None where the decision does not apply."""


def read_choices(space: SearchSpace, rows: Sequence[Row]) -> tuple[list[Row], Choices]:
    """Read off the architectures: of decisions that do not apply a trial chose nothing. The trials
    come too, without those that an earlier space of the study made."""
    kept, categories = [], []
    for row in rows:
        try:
            categories.append(space.categories(space.encode(row.architecture)))
        except SpaceError:
            continue
        kept.append(row)
    return kept, {
        gene: [_words(values[c[i]]) if c[i] >= 0 else None for c in categories]
        for i, (gene, values) in enumerate(space.genes.items())
    }


def _words(value: Option) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def decision_facts(rows: Sequence[Row], choices: Choices, score: str) -> DecisionFacts:
    """Of one score. rows: results, with the search's own scores."""
    task, _ = parted(score)
    macs = np.array([row.value(named(task, "macs")) for row in rows])
    scores = np.array([row.value(score) for row in rows])
    effects = _effects(scores, np.log(macs), choices)
    clear = _ERROR / max(1, len(effects))
    return DecisionFacts(
        score=score,
        trials=len(rows),
        best_share=best_share(len(rows)),
        confidence=CONFIDENCE,
        importances=importances(scores if best(score) == "minimize" else -scores, choices),
        effects=tuple(effect.model_copy(update={"clear": effect.p < clear}) for effect in effects),
    )


def _effects(scores: np.ndarray, log_macs: np.ndarray, choices: Choices) -> list[EffectFact]:
    return [
        EffectFact(
            decision=gene,
            choice=found.choice,
            value=found.value,
            low=found.low,
            high=found.high,
            p=found.p,
            trials=found.trials,
            clear=False,
        )
        for gene, chosen in choices.items()
        for found in choice_effects(scores, log_macs, chosen)
    ]


def best_share(trials: int) -> float:
    """The part of the trials that importance asks about: a tenth, of few trials more."""
    return max(_TARGET, min(0.5, _FEWEST_BEST / max(trials, 1)))


def importances(losses: np.ndarray, choices: Choices) -> tuple[ImportanceFact, ...]:
    """How much each decision matters for being among the best, as shares of 1; the largest first.

    PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023), as Optuna has it, with decisions that do
    not apply left out of a trial. losses: lower is better. Empty with fewer than FEWEST_TRIALS.
    """
    if len(losses) < FEWEST_TRIALS:
        return ()
    # At first use: what these import draws random numbers while it is imported.
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

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
    evaluator = PedAnovaImportanceEvaluator(target_quantile=best_share(len(losses)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of decisions that hardly ever apply
        found = get_param_importances(study, evaluator=evaluator)
    return tuple(ImportanceFact(decision=gene, share=share) for gene, share in found.items())
