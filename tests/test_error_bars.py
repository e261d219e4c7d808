"""What stands after +- of scores of fresh seeds, where they differ and where they are all alike."""

from __future__ import annotations

from pathlib import Path

import pytest
import search_helpers as helpers
from cli_helpers import DATABASE, Cli
from scipy.stats import norm

from hybridnas.dashboard.figures import card
from hybridnas.report import facts_of
from hybridnas.report.render import drawings_of, to_markdown
from hybridnas.report.results import pictures
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

SE = 0.02  # of each score, as it comes
EITHER = "standard deviation between fresh seeds (of one, and where they agree: standard error)"


def retrained(store: Store, *apart: float) -> StudyView:
    """The best again with two seeds each; apart: of whom the seeds differ, by how much."""
    final = {"retrain": max(2, len(apart)), "seeds": 2}
    plan = helpers.plan(space=helpers.LISTED, budget={"trials": 6}, final=final)
    core = helpers.start(plan, store)
    luck: dict[int, float] = {}
    while (candidate := core.ask()) is not None:
        top1 = helpers.score(helpers.network(candidate))
        if candidate.repeat:
            if candidate.number not in luck:
                luck[candidate.number] = apart[len(luck)]
            top1 -= (candidate.repeat - 1) * luck[candidate.number]
        scored = {"top1": top1, "top1_se": SE, **candidate.recorded}
        helpers.finish(core, candidate, metrics=scored)
    core.close()
    return StudyView("shapes", store)


@pytest.fixture
def store(cli: Cli, tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path / DATABASE}")


def test_seeds_that_agree_have_the_standard_error(store: Store, cli: Cli) -> None:
    with store:
        view = retrained(store, 0.0, 0.0)
        first, second = view.best(2)
        facts = facts_of(view)
    assert [row.spread("top1") for row in (first, second)] == [0, 0]
    assert [row.error("top1") for row in (first, second)] == [SE, SE]
    assert first.error_of_mean("top1") == SE, "what another training would score is not known"
    assert all(member.errors == {"top1": SE} for member in facts.front)
    assert facts.error_kind == "standard_error"
    assert facts.leader is not None
    assert facts.leader.gap is not None
    half = norm.isf(0.025) * 2**0.5 * SE
    assert facts.leader.gap_high == pytest.approx(facts.leader.gap + half)
    said = to_markdown(facts, drawings_of(facts) | pictures_of(view))
    assert "± 0.0200" in said
    assert "± is the standard error from the number of validation images" in said
    assert "± 0.0200" in card(view, first)
    shown = cli.shown("pareto", "shapes")
    assert "0.0000" not in shown
    assert "scores: means over fresh seeds, +- the standard error\n" in shown
    assert cli.json("pareto", "shapes")[0]["spread"] == {"top1": 0}


def test_each_kind_of_error_is_named_where_both_stand(store: Store, cli: Cli) -> None:
    with store:
        view = retrained(store, 0.0, 0.01, 0.0)
        front = view.front()
        kinds = {row.error("top1") or 0.0 for row in front}
        facts = facts_of(view)
    assert sorted(kinds) == [pytest.approx(0.01 / 2**0.5), SE]
    assert facts.error_kind == "either"
    assert f"± is the {EITHER}." in to_markdown(facts, drawings_of(facts) | pictures_of(view))
    assert f"+- the {EITHER}" in cli.shown("pareto", "shapes")


def pictures_of(view: StudyView) -> dict[str, str]:
    return {f"trial-{number}": svg for number, svg in pictures(view).items()}
