"""What is said of an effect: the verdict, its size, and what would help where nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

from hybridnas.ablate.effects import Effect, effect
from hybridnas.ablate.results import Comparison, Trained
from hybridnas.ablate.twins import StageMixer
from hybridnas.ablate.words import amount, criterion, places_words, sentence
from hybridnas.architecture import Architecture
from hybridnas.cost import cost
from hybridnas.reference import reference

THIRD = (StageMixer(3, "ssm"),)
BOTH = (StageMixer(1, "ssm"), StageMixer(3, "ssm"), StageMixer(3, "attention"))


def compared(
    found: Effect | None, places: tuple[StageMixer, ...] = THIRD, failed: int = 0
) -> Comparison:
    network: Architecture = reference("mambaout_femto")
    return Comparison(places, Trained(network, cost(network), {}, failed), 0.0, found)


def of(value: float, half: float, needed: int | None = None, seeds: int = 5) -> Effect:
    return Effect(value, 0.01, value - half, value + half, seeds, 1, needed)


@pytest.mark.parametrize(
    ("comparison", "metric", "words"),
    [
        (
            compared(of(0.012, 0.0051)),
            "miou",
            "the SSM adds 0.0120 [0.0069, 0.0171] to miou, with 5",
        ),
        (
            compared(of(-0.02, 0.013)),
            "top1",
            "Gated CNN is better by 0.0200 [0.0070, 0.0330] in top1,",
        ),
        (
            compared(of(0.004, 0.012, 14), (StageMixer(3, "attention"),)),
            "top1",
            "cannot tell with 5 seeds (attention adds 0.0040 [-0.0080, 0.0160] to top1); about 14",
        ),
        (
            compared(of(0.0, 0.25)),
            "box_ap",
            "cannot tell with 5 seeds (the SSM adds 0.0000 [-0.2500, 0.2500] to box_ap); more th",
        ),
        (
            compared(of(0.3, 0.1)),
            "loss",
            "the SSM lowers loss by 0.3000 [0.2000, 0.4000], with 5 seeds",
        ),
        (
            compared(of(-0.3, 0.1)),
            "loss",
            "Gated CNN lowers loss by 0.3000 [0.2000, 0.4000], with 5 seeds",
        ),
        (
            compared(of(-0.3, 0.4, 9)),
            "loss",
            "cannot tell with 5 seeds (the SSM lowers loss by -0.3000 [-0.7000, 0.1000]); about "
            "9 would, were the effect as large as it seems",
        ),
        (
            compared(None, failed=5),
            "top1",
            "cannot tell, no seed of both ended well; 5 of the twin",
        ),
        (compared(effect([0.1])), "top1", "cannot tell with 1 seed"),
        (compared(effect([0.1] * 3)), "top1", "cannot tell with 3 seeds, whose differences are al"),
    ],
)
def test_sentences(comparison: Comparison, metric: str, words: str) -> None:
    assert sentence(comparison, metric).startswith(f"stage 3: {words}")


def test_several_stages_at_once() -> None:
    said = sentence(compared(of(0.02, 0.001), BOTH), "top1")
    assert said.startswith(
        "stages 1 and 3 together: the SSM and attention add 0.0200 [0.0190, 0.0210] to top1"
    )
    assert places_words(BOTH) == "stages 1 and 3 together, ssm and attention"
    assert places_words(BOTH[1:]) == "stage 3, ssm and attention"


def test_sentences_agree_with_intervals() -> None:
    """Of 1,000 simulations with a true effect of 0.01, or none."""
    rng = np.random.default_rng(5)
    seen = set()
    for simulation in range(1000):
        found = effect(list(rng.normal(0.01 * (simulation % 2), 0.006, 5)), family=3)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        said = sentence(compared(found), "top1")
        claims = ("the SSM adds" in said, "Gated CNN is better" in said, "cannot tell" in said)
        if "cannot tell" in said:
            claims = (False, False, True)  # it names the interval, too
        assert claims == (found.low > 0, found.high < 0, found.low <= 0 <= found.high)
        seen.add(claims)
    assert len(seen) == 3


def test_the_papers_criterion() -> None:
    first, *_, last = cost(reference("vmamba_v0_tiny"), (512, 512)).stages
    assert (first.tokens, last.tokens) == (128**2, 16**2)
    assert criterion(first) == "28.44, long"
    assert criterion(last) == "0.06, short"


def test_an_effect_is_shown_as_the_score_is() -> None:
    assert amount(of(0.009, 0.13), "top1") == "0.0090 [-0.1210, 0.1390]"
    assert amount(of(0.009, 0.13), "top1", -1) == "-0.0090 [-0.1390, 0.1210]"
    assert amount(Effect(-0.00001, None, None, None, 1, 1, None), "top1") == "0.0000"
