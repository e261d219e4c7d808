"""How the hypervolume rose, against all that was known at each moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import search_helpers as helpers
from dashboard_helpers import LEAST, searched

from hybridnas.pareto import hypervolume
from hybridnas.search.progress import progress
from hybridnas.search.view import StudyView
from hybridnas.search.volume import reference_point, volume
from hybridnas.store import Store


def view_of(store: Store, *hours: tuple[float, float]) -> StudyView:
    """The study as if its runs had begun and ended so many hours after the first result."""
    session = store.begin_session("shapes")
    store.end_session(session, "trials")
    view = StudyView("shapes", store)
    view.sessions = [
        replace(
            view.sessions[0],
            started_at=helpers.START + timedelta(hours=begin),
            ended_at=helpers.START + timedelta(hours=end),
        )
        for begin, end in hours
    ]
    return view


@pytest.mark.parametrize("final", [None, {"retrain": 3, "seeds": 2}])
def test_it_rises_as_results_come(study_store: Store, final: dict[str, int] | None) -> None:
    searched(study_store, final=final)
    view = view_of(study_store, (-1, 1000))
    own = [replace(row, fresh=()) for row in view.finished]
    kept = [row for row in own if row.value("top1") >= LEAST]
    assert len(kept) > 4
    early = [row.value("top1") for row in own[:10]]
    low = min(early) - 0.1 * (max(early) - min(early))
    reference = np.array([-low, 1e7])
    wanted = []
    for row in sorted(kept, key=lambda row: row.number):  # trial n ends after n hours
        so_far = [[-r.value("top1"), r.value("macs")] for r in kept if r.number <= row.number]
        wanted.append(
            (row.number + 1, hypervolume(np.array(so_far), reference) / (1e7 * (1 - low)))
        )
    found = progress(view)
    assert [(m.hours, m.hypervolume) for m in found] == [pytest.approx(pair) for pair in wanted]
    if final is None:
        assert found[-1].hypervolume == pytest.approx(view.hypervolume())
    runs = [run.evaluation for row in view.rows for run in row.runs]
    for moment in found:
        until = helpers.START + timedelta(hours=moment.hours - 1)
        assert moment.gpu_hours == pytest.approx(
            sum(e is not None and e.ended_at <= until for e in runs)
        )


def test_breaks_between_runs_do_not_count(study_store: Store) -> None:
    searched(study_store)
    last = max(row.number for row in StudyView("shapes", study_store).finished)
    whole = progress(view_of(study_store, (0, 1000)))
    assert whole[-1].hours == last
    with_break = progress(view_of(study_store, (0, 2.5), (4, 1000)))
    assert with_break[-1].hours == last - 1.5
    assert [m.hypervolume for m in with_break] == [m.hypervolume for m in whole]


def test_what_was_known_before_came_when_it_was_proposed_and_cost_nothing(
    study_store: Store,
) -> None:
    searched(study_store)
    began = StudyView("shapes", study_store).rows[-1].created_at
    searched(study_store, name="again")
    view = StudyView("again", study_store)
    assert all(row.reused for row in view.finished)
    found = progress(view)
    trained = [run for row in view.rows for run in row.runs if not run.reused]
    assert len(trained) == 1  # the one that had failed
    assert found[-1].gpu_hours == 1
    assert found[-1].hypervolume == pytest.approx(view.hypervolume())
    session = study_store.begin_session("again")
    study_store.end_session(session, "trials")
    view = StudyView("again", study_store)
    view.sessions = [replace(view.sessions[0], started_at=began - timedelta(hours=1))]
    assert progress(view)[-1].hours >= 1


def test_without_a_result_there_is_none(study_store: Store) -> None:
    helpers.start(helpers.plan(), study_store)
    assert progress(StudyView("shapes", study_store)) == []


def test_a_final_retraining_leaves_the_box_where_it_was(study_store: Store) -> None:
    core = helpers.start(
        helpers.plan(budget={"trials": 9}, final={"retrain": 3, "seeds": 2}), study_store
    )
    while (candidate := core.ask()) is not None:
        helpers.finish(core, candidate)
    view = StudyView("shapes", study_store)
    view.retrained = sorted(view.retrained, key=lambda row: row.value("macs"))[:1]
    box = reference_point([view])
    largest = max(row.value("macs") for row in view.finished)
    assert box["macs"] == largest > max(row.value("macs") for row in view.judged)
    scores = view.losses([replace(row, fresh=()) for row in view.finished])
    assert progress(view)[-1].hypervolume == pytest.approx(volume(scores, box))
