"""How fast a search goes, and how long it will, from what the database holds."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
from cli_helpers import Cli

from hybridnas.cli.summary import _pace, print_status, status_json
from hybridnas.search.pace import alive_session, candidates_per_hour, hours_left, looked_up
from hybridnas.search.view import StudyView
from hybridnas.store import RunRecord, Store

pytest_plugins = ["cli_helpers"]


@pytest.fixture
def half_done(tmp_path: Path) -> Iterator[Store]:
    """Three of six trials ended, in an hour and a half of this run; an earlier one's is older."""
    with Store.open(f"sqlite:///{tmp_path / 'pace.db'}") as store:
        plan = helpers.plan()
        core = helpers.start(plan, store)
        store.begin_session(plan.study.name)
        for hours_ago in (20, 1, 0.5):
            candidate = helpers.asked(core)
            ended = datetime.now(UTC) - timedelta(hours=hours_ago)
            store.record(candidate.token, replace(helpers.result(candidate), ended_at=ended))
            core.settle(candidate.number)
        helpers.asked(core)
        yield store


def view_of(store: Store, **changes: Any) -> StudyView:
    """As read while the run, on another machine, is an hour and a half old."""
    view = StudyView("shapes", store)
    (session,) = view.sessions
    now = datetime.now(UTC)
    seen = {"host": "elsewhere", "last_seen_at": now, "started_at": now - timedelta(hours=1.5)}
    view.sessions = [replace(session, **{**seen, **changes})]
    return view


def test_the_pace_is_that_of_the_last_run(half_done: Store) -> None:
    view = view_of(half_done)
    assert candidates_per_hour(view) == pytest.approx(2 / 1.5, rel=0.01)
    assert hours_left(view) == pytest.approx(3 / (2 / 1.5), rel=0.01)


def test_the_start_of_ray_is_no_part_of_the_pace(half_done: Store) -> None:
    """A quarter of an hour of it: what is left takes no more."""
    view = view_of(half_done)
    began = view.sessions[0].started_at + timedelta(hours=0.25)

    def begun(run: RunRecord) -> RunRecord:
        return replace(run, evaluation=run.evaluation and replace(run.evaluation, started_at=began))

    view.rows[:] = [replace(row, runs=[*map(begun, row.runs)]) for row in view.rows]
    assert candidates_per_hour(view) == pytest.approx(2 / 1.25, rel=0.01)
    assert hours_left(view) == pytest.approx(3 / (2 / 1.25), rel=0.01)
    view.study = helpers.plan(budget={"gpu_hours": 0.1}).study
    assert hours_left(view) == pytest.approx((0.1 - 3 / 60) / (3 / 60 / 1.25), rel=0.01)


def test_what_is_looked_up_is_told_beside_it(half_done: Store) -> None:
    """The second study has three of its trials from the first: they take no time."""
    core = helpers.start(helpers.plan(name="second"), half_done)
    half_done.end_session(half_done.begin_session("second"), "interrupted")
    assert _pace_of(half_done) == "-"
    session = half_done.begin_session("second")
    left = helpers.asked(core)
    assert looked_up(StudyView("second", half_done)) == 3
    assert _pace_of(half_done).startswith("none trained, 3 looked up, ")
    helpers.finish(core, left, ended_at=datetime.now(UTC))
    half_done.heartbeat(session, 4, 0)
    view = StudyView("second", half_done)
    assert status_json(view)["looked_up"] == 3
    words = r"[\d,]+ candidates an hour trained, 3 more looked up, about \d+ s left"
    assert re.fullmatch(words, _pace_of(half_done))


def _pace_of(store: Store) -> str:
    view = StudyView("second", store)
    return _pace(view, status_json(view))


@pytest.mark.parametrize(
    ("changes", "hours"),
    [
        ({"budget": {"hours": 4}}, 2.5),
        ({"budget": {"hours": 1}}, 0.0),
        ({"budget": {"gpu_hours": 0.1}}, (0.1 - 3 / 60) / (3 / 60 / 1.5)),
        ({"budget": {"hours": 4, "trials": 4}}, 1 / (2 / 1.5)),
        ({"final": {"retrain": 2, "seeds": 2}}, None),
        ({"fidelities": [{"epochs": e, "resolution": 32} for e in (1, 2)]}, None),
    ],
)
def test_the_budget_that_ends_first_counts(
    half_done: Store, changes: dict[str, Any], hours: float | None
) -> None:
    view = view_of(half_done)
    view.study = helpers.plan(**changes).study
    assert hours_left(view) == (None if hours is None else pytest.approx(hours, abs=0.01))


def test_of_what_does_not_run_nothing_is_left(half_done: Store) -> None:
    view = view_of(half_done, ended_at=datetime.now(UTC), end_reason="trials")
    assert alive_session(view) is None
    assert hours_left(view) is None
    assert candidates_per_hour(view) == pytest.approx(2 / 1.5, rel=0.01)


# ---------------------------------------------------------------- status


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, False),
        ({"last_seen_at": datetime.now(UTC) - timedelta(hours=1)}, True),  # killed
        ({"ended_at": datetime.now(UTC), "end_reason": "interrupted"}, True),
        ({"ended_at": datetime.now(UTC), "end_reason": "trials"}, False),
    ],
)
def test_status_says_how_a_study_that_nothing_drives_goes_on(
    changes: dict[str, Any], left: bool, half_done: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    print_status(view_of(half_done, **changes))
    words = "none: nothing drives the study now; hybridnas search shapes --resume goes on"
    assert (words in capsys.readouterr().out) == left


def test_status_says_the_pace(populated: Cli) -> None:
    found = populated.json("status", "shapes")
    assert found["candidates_per_hour"] is None or found["candidates_per_hour"] > 0
    assert "time left unknown" in populated.shown("status", "shapes")
    assert "pace -" in populated.shown("status", "empty")


def test_status_is_shown_anew_until_the_search_ends(
    populated: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def ended_meanwhile(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            with Store.open("sqlite:///hybridnas.db", create=False) as store:
                store.end_session(store.sessions("shapes")[0].id, "trials")

    monkeypatch.setattr(time, "sleep", ended_meanwhile)
    shown = populated.shown("status", "shapes", "--watch")
    assert len(pauses) == 2
    assert shown.count("Study shapes") == 3
    assert shown.endswith("ended by: trials")
    assert "not both" in populated.refused("status", "shapes", "--watch", "--json")
