"""What a report explains, and that Markdown explains it, too."""

from __future__ import annotations

import re

import pytest
from report_helpers import Page, members, page_of
from scipy.stats import norm

from hybridnas.pictures.palette import DOMINATED, FRONT
from hybridnas.report.charts import importance_chart
from hybridnas.report.effects import CONFIDENCE
from hybridnas.report.render import drawings_of, to_markdown
from hybridnas.report.run_facts import TauFact
from hybridnas.store import Store

pytest_plugins = ["report_helpers"]

STUDIES = pytest.mark.parametrize("study", ["plain", "rich"])


def test_words_of_the_summary(reported: Store) -> None:
    _, html = page_of(reported, "plain")
    said = " ".join(Page(html).lines)
    assert "Each score is of one training, and the best of many noisy scores flatters" in said
    words = " ".join(" ".join(Page(html).words).split())
    assert "± is the standard error from the number of validation images" in words
    assert re.search(r"\[low, high\] is a +interval", words)
    assert re.search(r"behind \[-?0\.0\d+, 0\.0\d+\]: their scores do not tell the two apart", said)
    assert "ranks 9 architectures with Kendall's tau 0.61 [0.32, 0.83] (more under “How far" in said
    assert "the sampler was asked 47 times, and 5 times what it proposed broke a hard" in said
    assert "The search ended: the budget of trials is spent." in said
    _, html = page_of(reported, "rich")
    said = " ".join(Page(html).lines)
    assert "the 3 that were trained again with fresh seeds (front by front, the least crow" in said
    assert "± is the standard deviation between fresh seeds" in " ".join(Page(html).words)
    assert re.search("breaks? a soft constraint and (is|are) on no front", said)
    assert "ranks 9 architectures" in said, "its training is that of plain"
    assert "best of many noisy scores" not in said


@STUDIES
def test_markdown_explains_as_much(reported: Store, study: str) -> None:
    facts, html = page_of(reported, study)
    page = " ".join("".join(re.sub(r"<[^>]*>", "", html)).split())
    names = dict.fromkeys([*drawings_of(facts), *members(facts)], "x.svg")
    markdown = " ".join(to_markdown(facts, names).replace("`", "").split())
    assert "| trial | top1 | MACs |" in markdown
    for words in (
        "minimize MACs.",
        "by the convention of hybridnas cost (attention and scans counted)",
        "above L / 6D = 1 a sequence is long",
        "trained on the split train (1,280 images an epoch), scored on val (497 images)",
        "from random weights",
        "AdamW",
        "A digest names all that decides a score",
        "How the intervals are made",
        "Of Kendall's tau: bootstrap over architectures.",
        "grey: the 95 % interval holds 0. Effects and importances need not agree",
    ):
        assert words in page
        assert words in markdown
    bounded = "MACs at most 3.00 M (hard: never trained beyond it)"
    assert (bounded in page, bounded in markdown) == (study == "rich",) * 2


def test_the_calibration_is_told_once(reported: Store) -> None:
    facts, html = page_of(reported, "plain")
    drawings = dict.fromkeys([*drawings_of(facts), *members(facts)], "x")
    for text in (to_markdown(facts, drawings), re.sub("<.*?>", "", html)):
        told = (
            "ranks 9 architectures with Kendall's tau 0.61 [0.32, 0.83], at equal MACs none (all "
            "scores of a side were equal); without any training, parameters have 0.61 [0.32, 0.83] "
            "and MACs 0.41 [0.11, 0.71]: on these architectures the better of the two ranks no "
            "worse than the training"
        )
        assert text.replace("&#39;", "'").count(told) == 1
        assert text.count("without any training") == 1


def test_how_each_kind_of_interval_is_made(reported: Store) -> None:
    said = {
        study: " ".join(" ".join(Page(page_of(reported, study)[1]).words).split())
        for study in ("plain", "rich")
    }
    assert "as if they were scored on different images" in said["plain"]
    assert "Welch's t over fresh seeds" in said["rich"]
    assert not any("Of a twin test" in text for text in said.values())
    for kind in ("Student's t of the least squares", "Of an importance", "bootstrap over arch"):
        assert all(kind in text for text in said.values())
    assert "How the intervals are made" not in page_of(reported, "empty")[1]


@STUDIES
def test_importances_that_may_be_nothing_are_grey(reported: Store, study: str) -> None:
    facts, _ = page_of(reported, study)
    (found,) = facts.decisions
    for each in found.importances:
        assert each.clear == (norm.cdf(each.share / each.error) > 1 - (1 - CONFIDENCE) / 2)
    svg = importance_chart(facts, "top1", 1)
    drawn = [
        each for i, each in enumerate(found.importances) if not i or each.decision in found.clear
    ]
    assert [svg.count(f'fill="{colour}"') for colour in (FRONT, DOMINATED)] == [
        sum(each.clear == clear for each in drawn) for clear in (True, False)
    ]


@pytest.mark.parametrize(
    ("judged", "unjudged", "said"),
    [
        (8, 0, "of 8 decisions move"),
        (7, 1, "of 7 decisions (the space's 8, less 1 that cannot be judged) move"),
        (7, 0, "of 7 decisions (the space's 8, a stage's two mixers taken as one) move"),
        (5, 1, "a stage's two mixers taken as one, less 1 that cannot be judged) move"),
    ],
)
def test_other_numbers_of_decisions_are_explained(
    judged: int, unjudged: int, said: str, reported: Store
) -> None:
    facts, _ = page_of(reported, "plain")
    assert facts.num_decisions == 8
    (found,) = facts.decisions
    known = found.model_copy(update={"judged": judged, "unjudged": unjudged})
    facts = facts.model_copy(update={"decisions": (known,)})
    drawings = dict.fromkeys([*drawings_of(facts), *members(facts)], "x")
    assert said in to_markdown(facts, drawings)


def test_a_report_never_says_minus_nothing(reported: Store) -> None:
    """Of an effect, an interval's end and a tau a hair below 0."""
    facts, _ = page_of(reported, "plain")
    assert facts.leader is not None
    hair = -1e-9
    effect = facts.decisions[0].effects[0].model_copy(update={"value": hair, "low": hair})
    decisions = facts.decisions[0].model_copy(update={"effects": (effect,), "clear": ()})
    known = facts.calibrations[0]
    tau = TauFact(tau=hair, low=-0.5, high=0.5)
    changes = {
        "leader": facts.leader.model_copy(update={"gap_low": hair}),
        "decisions": (decisions,),
        "calibrations": (known.model_copy(update={"overall": tau}),),
    }
    facts = facts.model_copy(update=changes)
    drawings = dict.fromkeys([*drawings_of(facts), *members(facts)], "x")
    said = to_markdown(facts, drawings)
    assert not re.search(r"-0\.0+\b(?!\d)", said)
    assert "behind [0.0000, " in said
    assert "| +0.0000 | [+0.0000, " in said
    assert "tau 0.00 [-0.50, 0.50]" in said
