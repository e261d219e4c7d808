"""An ablation in words, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ..cost import Cost, StageCost
from ..counting import number_of
from ..objectives import BEST
from ..search.words import objective_text
from .effects import CONFIDENCE, MOST_SEEDS, POWER, Effect
from .results import Ablation, Comparison, Trained
from .twins import StageMixer

POWER_WORDS = f"seeds that would: for {100 * POWER:g} % power"
"""What is meant by their number where one cannot tell."""
_NAMES = {"ssm": "the SSM", "attention": "attention"}


def sentence(comparison: Comparison, metric: str) -> str:
    """`stage 3: the SSM adds 0.0120 [0.0070, 0.0170] to top1, with 5 seeds`; or that nobody can
    tell, and how many seeds could. In brackets: the interval. All in the score's own unit."""
    found, failed = comparison.effect, comparison.twin.failed
    said = _cannot_tell(comparison.places, found, metric)
    if said is None:
        assert found is not None, "only of an effect can one tell"
        said = _told(comparison.places, found, metric)
    trainings = f"; {failed} of the twin's trainings failed" if failed else ""
    return f"{_where(comparison.places)}: {said}{trainings}"


def criterion(stage: StageCost) -> str:
    """`1.33, long`: L / 6D, above 1 a long sequence (Yu & Wang, CVPR 2025, section 3)."""
    ratio = stage.long_sequence_ratio
    return f"{ratio:.2f}, {'long' if ratio > 1 else 'short'}"


def places_words(places: Sequence[StageMixer]) -> str:
    """`stage 3, ssm`; `stages 3 and 4 together, ssm and attention`."""
    names = [name for name in _NAMES if any(place.mixer == name for place in places)]
    return f"{_where(places)}, {' and '.join(names)}"


def subject(label: str) -> str:
    """`trial 17` of the study, `trial 17 on ade20k`; another architecture by its label."""
    number, _, task = label.partition(".")
    if not number.isdecimal():
        return label
    return f"trial {number} on {task}" if task else f"trial {number}"


def amount(found: Effect, metric: str, sign: int = 1) -> str:
    """`0.0120 [0.0070, 0.0170]`, in brackets the interval where there is one, as the score itself
    is shown; sign: -1 of how much better the twin is."""
    value = objective_text(metric, sign * found.value)
    if found.low is None or found.high is None:
        return value
    low, high = sorted(sign * end for end in (found.low, found.high))
    return f"{value} [{objective_text(metric, low)}, {objective_text(metric, high)}]"


def as_json(ablation: Ablation) -> dict[str, Any]:
    """Effects in the score's own unit, positive where the original is better."""
    original = ablation.original
    return {
        "study": ablation.study,
        "label": ablation.label,
        "protocol": ablation.protocol.digest,
        "fidelity": ablation.protocol.fidelity.model_dump(),
        "metric": ablation.metric,
        "confidence": CONFIDENCE,
        "family": len(ablation.comparisons),
        "original": _network_json(original),
        "twins": [
            {
                "replaced": [_place_json(place, original.cost) for place in comparison.places],
                **_network_json(comparison.twin),
                "macs_difference": comparison.macs_difference,
                "effect": comparison.effect and asdict(comparison.effect),
                "verdict": comparison.effect.verdict if comparison.effect else "unknown",
                "words": sentence(comparison, ablation.metric),
            }
            for comparison in ablation.comparisons
        ],
    }


def _network_json(trained: Trained) -> dict[str, Any]:
    return {
        "arch": trained.architecture.digest,
        "stages": trained.architecture.short,
        "macs": trained.cost.macs,
        "params": trained.cost.params,
        "scores": trained.scores,
        "failed": trained.failed,
    }


def _place_json(place: StageMixer, cost: Cost) -> dict[str, Any]:
    stage = cost.stages[place.stage - 1]
    return {
        **asdict(place),
        "tokens": stage.tokens,
        "long_sequence_ratio": stage.long_sequence_ratio,
    }


def _told(places: Sequence[StageMixer], found: Effect, metric: str) -> str:
    if found.verdict == "original":
        gain = _gain(places, found, metric)
    elif BEST[metric] == "maximize":
        gain = f"Gated CNN is better by {amount(found, metric, -1)} in {metric}"
    else:
        gain = f"Gated CNN lowers {metric} by {amount(found, metric, -1)}"
    return f"{gain}, with {number_of(found.seeds, 'seed')}"


def _cannot_tell(places: Sequence[StageMixer], found: Effect | None, metric: str) -> str | None:
    """Why, and what would help; None where one can tell."""
    if found is None:
        return "cannot tell, no seed of both ended well"
    words = f"cannot tell with {number_of(found.seeds, 'seed')}"
    if found.low is None or found.high is None:
        alike = ", whose differences are all equal and show no noise"
        return words + alike * (found.seeds > 1)
    if found.verdict != "unknown":
        return None
    needed = found.seeds_needed
    enough = f"more than {MOST_SEEDS}" if needed is None else f"about {needed}"
    said = _gain(places, found, metric)
    return f"{words} ({said}); {enough} would, were the effect as large as it seems"


def _gain(places: Sequence[StageMixer], found: Effect, metric: str) -> str:
    """What the mixers do for the score."""
    names = [_NAMES[name] for name in _NAMES if any(place.mixer == name for place in places)]
    who, s = " and ".join(names), "s" * (len(names) == 1)
    if BEST[metric] == "maximize":
        return f"{who} add{s} {amount(found, metric)} to {metric}"
    return f"{who} lower{s} {metric} by {amount(found, metric)}"


def _where(places: Sequence[StageMixer]) -> str:
    stages = sorted({place.stage for place in places})
    if len(stages) == 1:
        return f"stage {stages[0]}"
    return f"stages {', '.join(map(str, stages[:-1]))} and {stages[-1]} together"
