"""Facts of twin tests."""

from __future__ import annotations

from collections.abc import Sequence

from ..ablate import Ablation
from ..ablate.words import places_words, sentence, subject
from ..config import Study
from ..search.words import fidelity_words
from .facts import TwinFact


def twin_facts(study: Study, ablations: Sequence[Ablation]) -> tuple[TwinFact, ...]:
    """A fact for each comparison, in the order of the ablations."""
    found = []
    for ablation in ablations:
        stages = ablation.original.cost.stages
        for comparison in ablation.comparisons:
            effect = comparison.effect
            where = sorted({place.stage for place in comparison.places})
            found.append(
                TwinFact(
                    subject=subject(ablation.label),
                    stages=ablation.original.architecture.short,
                    metric=ablation.metric,
                    fidelity=fidelity_words(ablation.protocol.fidelity),
                    replaced=places_words(comparison.places),
                    ratios=tuple(stages[stage - 1].long_sequence_ratio for stage in where),
                    macs_difference=comparison.macs_difference,
                    value=effect.value if effect else None,
                    low=effect.low if effect else None,
                    high=effect.high if effect else None,
                    seeds=effect.seeds if effect else 0,
                    verdict=effect.verdict if effect else "unknown",
                    words=sentence(comparison, ablation.metric),
                    command=_command(ablation, study),
                )
            )
    return tuple(found)


def _command(ablation: Ablation, study: Study) -> str | None:
    if not ablation.label.isdecimal() or ablation.protocol.fidelity != study.fidelity:
        return None
    together = " --together" * any(len(each.places) > 1 for each in ablation.comparisons)
    seeds = len(ablation.original.scores)
    return f"hybridnas ablate {study.name}:{ablation.label} --seeds {seeds}{together}"
