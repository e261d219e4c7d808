"""What a report says of fresh seeds: of twin tests, and of a final retraining."""

from __future__ import annotations

import re
from dataclasses import replace
from statistics import fmean

import pytest
from report_helpers import Page, assert_facts, members, page_of
from scipy.stats import ttest_1samp, ttest_ind

from hybridnas.ablate import Ablation
from hybridnas.ablate.fresh import fresh_words
from hybridnas.report.effects import CONFIDENCE
from hybridnas.report.render import drawings_of, to_html
from hybridnas.search.rows import Row
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["report_helpers"]


def test_fresh_seeds_of_the_leader(reported: Store, twins_of_plain: Ablation) -> None:
    view = StudyView("plain", reported)
    best = view.best(1)[0]
    (protocol,) = {p.seedless().digest: p.seedless() for p in view.protocols.values()}.values()
    trained = replace(
        twins_of_plain.original, architecture=best.architecture, scores={1: 0.5, 2: 0.52}
    )
    own = replace(twins_of_plain, original=trained, protocol=protocol)
    facts, html = page_of(reported, "plain", [own])
    assert_facts(facts, html)
    assert facts.leader is not None
    (line,) = fresh_words(view, [own])
    assert line.startswith(f"trial {best.number}, trained anew for its twin test with 2 seeds, has")
    assert line.endswith(
        "has top1 0.5100 on average: the score above, which it was chosen by, flatters"
    )
    fresh = facts.leader.fresh
    assert fresh is not None
    assert fresh.mean == pytest.approx(0.51)
    assert fresh.seeds == 2
    assert fresh.spread == pytest.approx(0.02 / 2**0.5)
    assert fresh.gap == pytest.approx(best.value("top1") - 0.51)
    said = " ".join(Page(html).lines)
    ends = ttest_1samp([0.5, 0.52], 0).confidence_interval(CONFIDENCE)
    assert (fresh.low, fresh.high) == pytest.approx(tuple(ends))
    assert f"0.5100 [{ends.low:.4f}, {ends.high:.4f}] on average, worse by {fresh.gap:.4f}." in said
    second = view.best(2)[1].value("top1")
    gap = facts.leader.fresh_gap
    assert gap is not None
    assert gap.apart == pytest.approx(second - 0.51)
    assert (gap.leads, gap.low, gap.clear) == (False, None, None)
    others = len(facts.front) - 1
    assert f"Of the front's other scores {others} are of one training each, and flatter" in said
    assert (
        f"{facts.leader.gap:.4f} behind the score that the best was chosen for, and "
        f"{gap.apart:.4f} ahead of its mean with fresh seeds. The next best's flatters, too"
    ) in said
    assert "do not tell the two apart" not in said
    assert "By the scores that the search chose by, the cheapest that" in said
    lucky = replace(trained, scores={1: 1.5})
    (line,) = fresh_words(view, [replace(own, original=lucky)])
    assert line.endswith("with 1 seed, has top1 1.5000 on average")
    facts, html = page_of(reported, "plain", [replace(own, original=lucky)])
    assert facts.leader is not None
    assert facts.leader.fresh is not None
    assert facts.leader.fresh_gap is not None
    assert (facts.leader.fresh.low, facts.leader.fresh_gap.leads) == (None, True)
    assert f"{1.5 - second:.4f} behind its mean" in " ".join(Page(html).lines)
    assert "a final retraining with fresh seeds would" not in said
    assert page_of(reported, "plain", [twins_of_plain])[0].leader == facts.leader.model_copy(
        update={"fresh": None, "fresh_gap": None}
    ), "of another training"


def test_fresh_seeds_of_the_next_best(reported: Store, twins_of_plain: Ablation) -> None:
    view = StudyView("plain", reported)
    first, second = view.best(2)
    (protocol,) = {p.seedless().digest: p.seedless() for p in view.protocols.values()}.values()

    def twins_of(row: Row, scores: list[float]) -> Ablation:
        anew = dict(enumerate(scores, 1))
        trained = replace(twins_of_plain.original, architecture=row.architecture, scores=anew)
        return replace(twins_of_plain, original=trained, protocol=protocol)

    own, other = [0.5, 0.52, 0.53], [0.51, 0.512, 0.505]
    facts, html = page_of(reported, "plain", [twins_of(first, own), twins_of(second, other)])
    assert_facts(facts, html)
    leader = facts.leader
    assert leader is not None
    assert leader.fresh_gap is not None
    assert leader.runner_up_fresh is not None
    assert leader.runner_up_fresh.mean == pytest.approx(fmean(other))
    ends = ttest_ind(own, other, equal_var=False).confidence_interval(CONFIDENCE)
    gap = leader.fresh_gap
    assert gap.apart == pytest.approx(fmean(own) - fmean(other))
    assert (gap.low, gap.high) == pytest.approx(tuple(ends))
    assert (gap.leads, gap.clear) == (True, False)
    said = " ".join(Page(html).lines)
    assert (
        f"{leader.gap:.4f} behind the score that the best was chosen for. Trained anew for its own "
        f"twin test, with 3 seeds, it has {fmean(other):.4f} ["
    ) in said
    assert (
        f"on average: with fresh seeds of both the best is {gap.apart:.4f} ahead (better by "
        f"[{ends.low:.4f}, {ends.high:.4f}]), which does not tell the two apart."
    ) in said
    assert "only fresh seeds of both would tell" not in said
    assert {twin.command for twin in facts.twins} == {"hybridnas ablate plain:17 --seeds 3"}
    assert html.count("\nhybridnas ablate plain:17 --seeds 3\n") == 1
    known = sum(row.number == second.number for row in view.front())
    assert leader.once == len(facts.front) - 1 - known
    worse = [twins_of(first, [0.5, 0.5001]), twins_of(second, [0.6, 0.6001])]
    said = " ".join(Page(page_of(reported, "plain", worse)[1]).lines)
    assert "the best is 0.1000 behind (better by [-0.10" in said
    assert "more than this noise explains" in said
    facts, html = page_of(reported, "plain", [twins_of(second, other)])
    assert_facts(facts, html)
    said = " ".join(Page(html).lines)
    assert "their scores do not tell the two apart. Trained anew for its twin test, with" in said
    assert re.search(r"it has 0\.5090 \[0\.\d+, 0\.\d+\] on average; the best was not\.", said)


def test_how_far_the_leader_fell_in_a_final_retraining(reported: Store) -> None:
    (best,) = StudyView("rich", reported).best(1)
    facts, html = page_of(reported, "rich")
    assert_facts(facts, html)
    leader = facts.leader
    assert leader is not None
    assert best.evaluation is not None
    scores = {run.repeat: run.evaluation.metrics["top1"] for run in best.runs if run.evaluation}
    assert sorted(scores) == [0, 1, 2]
    # Made up: 0.01 lower with each seed, so 0.015 lower in the mean of the first two.
    assert leader.chosen_for == best.evaluation.metrics["top1"]
    assert leader.fell == pytest.approx(0.015)
    assert (
        f"The search chose it by a score of {leader.chosen_for:.4f}, of one training: with fresh "
        "seeds it is worse by 0.0150."
    ) in " ".join(Page(html).lines)
    lucky = leader.model_copy(update={"fell": -0.001})
    drawings = dict.fromkeys([*drawings_of(facts), *members(facts)], "")
    page = to_html(facts.model_copy(update={"leader": lucky}), drawings)
    assert "with fresh seeds it is no worse." in " ".join(Page(page).lines)
    once, _ = page_of(reported, "plain")
    assert once.leader is not None
    assert (once.leader.chosen_for, once.leader.fell) == (None, None)
