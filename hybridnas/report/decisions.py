"""Which decisions of a search mattered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..objectives import best, named, parted
from ..search.rows import Row
from .choices import Choices, Possible
from .effects import CONFIDENCE, FEWEST, Floats, choice_effects
from .facts import ChoiceFact, DecisionFacts, EffectFact
from .importance import PARTS, best_share, importance_facts

_ERROR = 0.05  # of all effects of a score together


def decision_facts(
    rows: Sequence[Row], choices: Choices, possible: Possible, score: str
) -> DecisionFacts:
    """Of one score. rows: results, with the search's own scores."""
    task, _ = parted(score)
    macs = np.array([row.value(named(task, "macs")) for row in rows])
    scores = np.array([row.value(score) for row in rows])
    effects = _effects(scores, np.log(macs), choices)
    limit = _ERROR / max(1, len(effects))
    effects = [effect.model_copy(update={"clear": effect.p < limit}) for effect in effects]
    clear = sorted((effect for effect in effects if effect.clear), key=lambda effect: effect.p)
    judged = len({effect.decision for effect in effects})
    rare, untold = _left_out(effects, choices, possible)
    losses = scores if best(score) == "minimize" else -scores
    return DecisionFacts(
        score=score,
        trials=len(rows),
        best_share=best_share(len(rows)),
        confidence=CONFIDENCE,
        importances=importance_facts(losses, choices),
        parts=PARTS,
        effects=tuple(effects),
        judged=judged,
        unjudged=len(choices) - judged,
        clear=tuple(dict.fromkeys(effect.decision for effect in clear)),
        fewest=FEWEST,
        rare=rare,
        untold=untold,
    )


def _left_out(
    effects: Sequence[EffectFact], choices: Choices, possible: Possible
) -> tuple[tuple[ChoiceFact, ...], tuple[ChoiceFact, ...]]:
    """Choices that no effect is told of: those tried too seldom, and the others."""
    told = {(effect.decision, effect.choice) for effect in effects}
    left = [
        ChoiceFact(decision=name, choice=choice, trials=list(choices[name]).count(choice))
        for name, every in possible.items()
        for choice in every
        if (name, choice) not in told
    ]
    rare, untold = ([c for c in left if (c.trials < FEWEST) == few] for few in (True, False))
    return tuple(rare), tuple(untold)


def _effects(scores: Floats, log_macs: Floats, choices: Choices) -> list[EffectFact]:
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
