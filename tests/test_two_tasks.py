"""What is read of a study of two tasks, and what is kept of it, while it runs and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
import two_task_helpers as two
from search_helpers import asked, start
from torch import ones

from hybridnas.cli import plot
from hybridnas.dashboard import figures
from hybridnas.errors import ConfigError
from hybridnas.report.charts import front_chart
from hybridnas.report.gather import facts_of
from hybridnas.search import weights
from hybridnas.search.comparison import compare
from hybridnas.search.registration import check_registered
from hybridnas.search.retention import prune_weights
from hybridnas.search.view import StudyView
from hybridnas.store import Store


def test_weights_stay_between_two_tasks(study_store: Store, tmp_path: Path) -> None:
    """Until the last task has ended nobody knows whether the trial is on the front."""
    core, folder = start(two.plan(keep_weights=0), study_store), str(tmp_path / "shapes")
    first = asked(core)
    kept = weights.save({"w": ones(2)}, folder, first.token)
    two.finish(core, first, weights=kept)
    prune_weights("shapes", study_store, folder)
    two.finish(core, asked(core))
    prune_weights("shapes", study_store, folder)
    (member,) = StudyView("shapes", study_store).front()
    assert member.evaluation is not None
    assert member.evaluation.weights == kept
    assert weights.load(kept)["w"].tolist() == [1, 1]


def test_the_order_of_tasks_stays(study_store: Store) -> None:
    """Who was between two of them would count as one that ended without the other."""
    also = {**two.ALSO, "c": {"fidelities": [{"epochs": 3, "resolution": 32}]}}
    objectives = {**two.OBJECTIVES, "c.top1": "maximize"}
    core = start(two.plan(also=also, objectives=objectives), study_store)
    two.finish(core, asked(core))
    two.finish(core, asked(core))
    core.release()
    other = two.plan(also=dict(reversed(also.items())), objectives=objectives)
    with pytest.raises(ConfigError, match="cannot be resumed with changed also"):
        check_registered(other, study_store, resume=True)
    same = two.plan(also=also, objectives=objectives)
    assert check_registered(same, study_store, resume=True)


NO_SCORE: dict[str, Any] = {"metrics": {"top5": 0.9}}


@pytest.mark.parametrize("tasks", ["one", "two"])
def test_who_has_no_number_for_an_objective_has_failed(tasks: str, study_store: Store) -> None:
    given: dict[str, Any] = {"budget": {"trials": 1}}
    core = start((two if tasks == "two" else helpers).plan(**given), study_store)
    two.finish(core, asked(core), **NO_SCORE)
    assert core.ask() is None
    assert [t.state.name for t in helpers.optuna_trials(study_store)] == ["FAIL"]
    assert StudyView("shapes", study_store).counts() == {"failed": 1}


def test_a_retraining_without_a_score_keeps_nobody_waiting(study_store: Store) -> None:
    final = {"retrain": 2, "seeds": 2}
    core = start(two.plan(final=final, budget={"trials": 2}), study_store)
    while (candidate := core.ask()) is not None:
        bad = candidate.repeat and candidate.number == 0
        two.finish(core, candidate, **(NO_SCORE if bad else {}))
    assert core.stop_reason == "trials"
    (row,) = StudyView("shapes", study_store).retrained
    assert (row.number, row.seeds) == (1, 2)


def test_one_that_was_between_two_tasks_is_counted_as_done(study_store: Store) -> None:
    plan = two.plan(budget={"trials": 2})
    core = start(plan, study_store)
    two.finish(core, asked(core))
    core.release()
    notes = helpers.Notes()
    again = start(plan, study_store, notes)
    assert len(list(two.drive(again))) == 3
    assert notes.done_before == 1
    assert sum(result.begins for result in notes.results) == 1


@pytest.mark.parametrize("order", [("top1", "b.top1"), ("b.top1", "top1")])
def test_the_front_of_two_scores_as_a_line(order: tuple[str, str], study_store: Store) -> None:
    """It must not pass what no member attains: between two of them it goes by the lower score."""
    list(two.drive(start(two.plan(objectives=dict.fromkeys(order, "maximize")), study_store)))
    made = figures.front(StudyView("shapes", study_store))
    assert made is not None
    (line,) = (trace for trace in made["data"] if trace["name"] == "front")
    assert len(line["x"]) == 6
    assert line["x"] == sorted(line["x"])
    assert line["line"]["shape"] == "vh", "down at once, then to the right"
    assert made["layout"]["xaxis"]["type"] == "linear"


@pytest.mark.parametrize("order", [("top1", "b.top1"), ("b.top1", "top1")])
def test_the_plot_of_two_scores(
    order: tuple[str, str], study_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    list(two.drive(start(two.plan(objectives=dict.fromkeys(order, "maximize")), study_store)))
    drawn: list[Any] = []
    monkeypatch.setattr(plot, "write_figure", lambda figure, _: drawn.append(figure))
    plot.plot_front(StudyView("shapes", study_store), Path("front.svg"))
    line = drawn[0].axes[0].lines[0]
    assert list(line.get_xdata()) == sorted(line.get_xdata())
    assert line.get_drawstyle() == "steps-pre"


def test_studies_that_differ_in_their_second_task_are_told_apart(study_store: Store) -> None:
    longer = {"b": {"fidelities": [{"epochs": 7, "resolution": 32}]}}
    views = []
    for name, changes in (("a", {}), ("b", {}), ("c", {"also": longer})):
        core = start(two.plan(name=name, **changes), study_store)
        list(two.drive(core))
        views.append(StudyView(name, study_store))
    assert not compare({"a": [views[0]], "b": [views[1]]}).notes
    (note,) = compare({"a": [views[0]], "c": [views[2]]}).notes
    assert "their protocols differ" in note


def test_a_report_draws_no_front_over_what_is_no_objective(study_store: Store) -> None:
    """Over MACs the members of a front of two scores lie anywhere."""
    both = {"top1": "maximize", "macs": "minimize"}
    paths = []
    for name, plan in (("a", two.plan(name="a")), ("b", helpers.plan(name="b", objectives=both))):
        list(two.drive(start(plan, study_store)))
        facts = facts_of(StudyView(name, study_store))
        assert (facts.cost, len(facts.front) > 1) == ("macs", True)
        paths.append(front_chart(facts, "top1").count("<polyline"))
    assert paths[0] == paths[1] - 1
