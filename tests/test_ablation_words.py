"""What is said of an effect: the verdict, its size, and what would help where nobody can tell."""

from __future__ import annotations

import numpy as np
import pytest

from hybridnas.ablate.effects import Effect, effect
from hybridnas.ablate.results import Comparison, Trained
from hybridnas.ablate.twins import StageMixer
from hybridnas.ablate.words import criterion, number, places_words, sentence
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
            "the SSM adds 1.20 [0.69, 1.71] points of miou, with 5",
        ),
        (
            compared(of(-0.02, 0.013)),
            "top1",
            "Gated CNN is better by 2.0 [0.7, 3.3] points of top1,",
        ),
        (
            compared(of(0.004, 0.012, 14), (StageMixer(3, "attention"),)),
            "top1",
            "cannot tell with 5 seeds (attention adds 0.4 [-0.8, 1.6] points of top1); about 14 w",
        ),
        (
            compared(of(0.0, 0.25)),
            "box_ap",
            "cannot tell with 5 seeds (the SSM adds 0.0 [-25.0, 25.0] points of box_ap); more th",
        ),
        (compared(of(0.3, 0.1)), "loss", "the SSM lowers loss by 0.30 [0.20, 0.40], with 5 seeds"),
        (
            compared(of(-0.3, 0.1)),
            "loss",
            "Gated CNN lowers loss by 0.30 [0.20, 0.40], with 5 seeds",
        ),
        (
            compared(of(-0.3, 0.4, 9)),
            "loss",
            "cannot tell with 5 seeds (the SSM lowers loss by -0.30 [-0.70, 0.10]); about 9 would, "
            "were the effect as large as it seems",
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
    assert said.startswith("stages 1 and 3 together: the SSM and attention add 2.00 [1.90, 2.10] ")
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


def test_a_wide_interval_hides_no_value() -> None:
    said = sentence(compared(of(0.009, 0.13)), "top1")
    assert "the SSM adds 0.9 [-12.1, 13.9] points" in said


def test_nothing_has_no_sign() -> None:
    assert [number(value, 25.0) for value in (-0.04, 0.04, -1.0)] == ["0.0", "0.0", "-1.0"]
    assert number(-0.001, 0.5) == "0.00"
