"""How a running search looks, with a clock that stands still."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import search_helpers as helpers
from rich.console import Console

from hybridnas.architecture import Architecture
from hybridnas.cli import live
from hybridnas.cli.front_so_far import FrontSoFar
from hybridnas.cli.live import Lines, LiveView
from hybridnas.config import Study, parse_study
from hybridnas.search.observer import Candidate, Finished
from hybridnas.store import Place

TINY = Architecture.from_dict(
    {"stages": [{"width": 8, "blocks": [{"form": "gated", "mixer": "ssm", "repeat": 2}]}]}
)
COSTS = {"macs": 1_234_000.0, "params": 5000.0}


class Clock:
    now = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def study(**changes: Any) -> Study:
    fidelities = [{"epochs": 4, "resolution": 32}]
    return parse_study({**helpers.RAW, "fidelities": fidelities, **changes}, "test")


def candidate(number: int, **changes: Any) -> Candidate:
    protocol = study(**changes).protocol("0123456789ab", ("a", "b"))
    return Candidate(number, "token", TINY, TINY.digest, COSTS, protocol, COSTS)


def finished(number: int, top1: float | None = None, **changes: Any) -> Finished:
    values = {
        "number": number,
        "short": "S2",
        "costs": COSTS,
        "metrics": {} if top1 is None else {"top1": top1, "top1_se": 0.01},
        "seconds": 12.34,
        "reason": None,
        "message": None,
        "reused": False,
    }
    return Finished(**{**values, **changes})


FAILED: dict[str, Any] = {"reason": "out_of_memory", "message": "no room [/red]"}


def console() -> Console:
    # As cli.common makes it, with a width that is known.
    return Console(
        record=True, force_terminal=True, width=120, file=io.StringIO(), markup=False, emoji=False
    )


def frame(view: LiveView, out: Console) -> str:
    """What is on the screen now, with its spaces squeezed."""
    out.export_text(clear=True)
    with view:
        pass
    lines = out.export_text(clear=True).splitlines()
    return "\n".join(" ".join(line.split()) for line in lines)


# ---------------------------------------------------------------- the live view


def test_nothing_has_run_yet(clock: Clock) -> None:
    out = console()
    shown = frame(LiveView(study(), out), out)
    assert shown.startswith("shapes 0 of 6 done 0:00\n")
    assert "trial stages MACs epochs loss time" in shown
    assert not {"failed", "left", "best"} & {*shown.split()}


def test_what_runs_has_its_epochs_and_loss(clock: Clock) -> None:
    out = console()
    view = LiveView(study(), out)
    view.note("2 candidates at once")
    view.started(candidate(0))
    clock.now = 5
    view.started(candidate(1))
    view.epoch(0, 2, 4, 1.98765, "")
    view.epoch(99, 2, 4, 1.0, "")  # ended meanwhile
    clock.now = 65
    shown = frame(view, out)
    assert "2 candidates at once" not in shown, "they train"
    assert "\n0 S2 1.23 M 2/4 ━━━━━━━━━━╺━━━━━━━━━ 1.988 1:05\n" in shown
    assert "\n1 S2 1.23 M 0/4 ━━━━━━━━━━━━━━━━━━━━ 1:00" in shown
    assert "99" not in shown


def test_a_training_by_iterations_has_the_epochs_that_it_says(clock: Clock) -> None:
    out = console()
    view = LiveView(study(), out)
    view.started(candidate(0, fidelities=[{"epochs": 127, "resolution": 32, "iterations": 40}]))
    assert "\n0 S2 1.23 M 0/? ━━━━━━━━━━━━━━━━━━━━ 0:00" in frame(view, out)
    view.epoch(0, 2, 4, 1.98765, "")
    assert "\n0 S2 1.23 M 2/4 ━━━━━━━━━━╺━━━━━━━━━ 1.988 0:00" in frame(view, out)


def test_what_ended_is_counted_and_the_best_kept(clock: Clock) -> None:
    out = console()
    view = LiveView(study(), out)
    view.note("2 candidates at once")
    for number in range(4):
        view.started(candidate(number))
    clock.now = 30
    view.finished(finished(0, 0.5))
    assert "2 candidates at once" not in frame(view, out)
    view.note("trial 3: its process ended")
    for each in (finished(1, 0.75, reused=True), finished(2, **FAILED), finished(3, 0.25)):
        view.finished(each)
    shown = frame(view, out)
    assert (
        "shapes 4 of 6 done, 1 failed 0:30, 875 an hour, about 0:08 left best top1 0.7500 (S2, "
        in shown
    )
    assert "trial 0 S2, 1.23 M MACs: top1 0.5000 (SE 0.0100), 12.3 s" in shown
    assert "trial 1 S2, 1.23 M MACs: top1 0.7500 (SE 0.0100), known already" in shown
    assert "trial 2 S2, 1.23 M MACs: failed, out_of_memory (no room [/red])" in shown
    assert "0/4" not in shown, "nothing runs any more"
    assert "trial 3: its process ended" in shown


def test_only_the_last_few_endings_are_shown(clock: Clock) -> None:
    out = console()
    view = LiveView(study(budget={"hours": 1}), out)
    for number in range(20):
        view.finished(finished(number, 0.5))
    shown = frame(view, out)
    assert shown.startswith("shapes 20 done 0:00, about 1:00:00 left best top1 0.5000")
    assert "trial 11 " not in shown
    assert all(f"trial {number} " in shown for number in range(12, 20))


def test_a_resumed_search_counts_on(clock: Clock) -> None:
    out = console()
    view = LiveView(study(), out)
    view.began(3)
    assert "shapes 3 of 6 done 0:00\n" in frame(view, out)
    clock.now = 60
    view.finished(finished(3, 0.5))
    # 12.3 s for the one of this run, so twice that for the two that are left; Ray has started.
    assert "shapes 4 of 6 done 1:00, 292 an hour, about 0:24 left" in frame(view, out)


def test_the_budget_that_ends_first_says_when(clock: Clock) -> None:
    out = console()
    view = LiveView(study(budget={"hours": 0.025, "trials": 10}), out)
    clock.now = 60
    assert ", about 0:30 left" in frame(view, out)
    view.finished(finished(0, 0.5))  # nine more would take two minutes
    assert ", about 0:30 left" in frame(view, out)


def test_a_candidate_on_a_ladder_says_where_it_is(clock: Clock) -> None:
    ladder = [{"epochs": number, "resolution": 32} for number in (1, 4)]
    out = console()
    view = LiveView(study(fidelities=ladder), out)
    view.started(replace(candidate(0), place=Place(1), stage="rung 2 of 2"))
    clock.now = 30
    low: dict[str, Any] = {"stage": "rung 1 of 2", "counts": False}
    high: dict[str, Any] = {"stage": "rung 2 of 2", "begins": False}
    again: dict[str, Any] = {"stage": "seed 1 of 3", "begins": False, "counts": False}
    view.finished(finished(1, 0.9, **low))
    view.finished(finished(2, 0.5, **high))
    view.finished(finished(2, 0.7, **again))
    shown = frame(view, out)
    assert (
        "shapes 1 of 6 first trainings done 0:30, 292 an hour, time left unknown best top1 0.5000 "
        in shown
    ), "one trial, one top score"
    assert "\n0 S2 rung 2 of 2 1.23 M 0/4 " in shown
    assert "trial 1 S2, 1.23 M MACs (rung 1 of 2): top1 0.9000" in shown
    assert "trial 2 S2, 1.23 M MACs (seed 1 of 3): top1 0.7000" in shown
    lines = Lines(study(fidelities=ladder), out)
    lines.started(replace(candidate(3), stage="rung 1 of 2"))
    lines.finished(finished(2, 0.5, **high))
    told = out.export_text().splitlines()
    assert told[-2:] == [
        "[0:00] trial 3 started: S2, 1.23 M MACs (rung 1 of 2)",
        "[0:00] trial 2 S2, 1.23 M MACs (rung 2 of 2): top1 0.5000 (SE 0.0100), 12.3 s, "
        "0 first trainings done of 6",
    ]


def test_what_runs_says_where(clock: Clock) -> None:
    out = console()
    view = LiveView(study(), out)
    view.started(candidate(0))
    assert "where" not in frame(view, out)
    view.epoch(0, 2, 4, 1.98765, "node7, GPU 3")
    shown = frame(view, out)
    assert "trial stages MACs epochs loss time where\n" in shown
    assert shown.endswith(" 1.988 0:00 node7, GPU 3")


def test_the_front_so_far_is_drawn_once_there_is_one(clock: Clock) -> None:
    out = console()
    view = LiveView(study(), out)
    for number, (score, macs) in enumerate([(0.5, 1e6), (0.75, 2e6), (0.6, 4e6)]):
        assert "front so far" not in frame(view, out)
        view.finished(finished(number, score, costs={"macs": macs, "params": 1.0}))
    view.finished(finished(3, 0.9, costs={"macs": 5e5}, counts=False))  # at a lower rung
    view.finished(finished(4, **FAILED, costs={"macs": 5e5}))
    shown = frame(view, out)
    assert "front so far: 2 of 3, top1 over macs\n0.7500 " in shown
    assert "\n1.00 M 4.00 M\n" in shown
    small = Console(record=True, width=120, height=10, force_terminal=True, file=io.StringIO())
    assert not FrontSoFar(study()).lines(8)
    crowded = LiveView(study(), small)
    for number, macs in enumerate([1e6, 2e6, 4e6]):
        crowded.finished(finished(number, 0.5, costs={"macs": macs}))
    assert "front so far" not in frame(crowded, small)


# ---------------------------------------------------------------- plain lines


def test_lines_are_plain_and_one_an_event(clock: Clock) -> None:
    out = console()
    with Lines(study(), out) as lines:
        lines.began(0)
        lines.note("starting Ray")
        lines.started(candidate(0))
        lines.epoch(0, 1, 4, 2.0, "node1")
        clock.now = 3661
        lines.finished(finished(0, 0.5))
        lines.finished(finished(1, **FAILED))
    assert out.export_text().splitlines() == [
        "[0:00] starting Ray",
        "[0:00] trial 0 started: S2, 1.23 M MACs",
        "[1:01:01] trial 0 S2, 1.23 M MACs: top1 0.5000 (SE 0.0100), 12.3 s, 1 done of 6",
        "[1:01:01] trial 1 S2, 1.23 M MACs: failed, out_of_memory (no room [/red]), 2 done of 6",
    ]


def test_lines_of_a_resumed_search_count_on(clock: Clock) -> None:
    out = console()
    lines = Lines(study(), out)
    lines.began(3)
    lines.finished(finished(3))
    assert out.export_text().splitlines() == [
        "[0:00] 3 of 6 trials were done before",
        "[0:00] trial 3 S2, 1.23 M MACs: no top1, 12.3 s, 4 done of 6",
    ]


def test_lines_of_a_smaller_budget_than_what_was_done(clock: Clock) -> None:
    out = console()
    Lines(study(), out).began(7)
    assert out.export_text().splitlines() == ["[0:00] 7 trials were done before"]


def test_it_is_said_that_the_best_are_trained_again(clock: Clock) -> None:
    again = "the best 2 are trained again, 3 fresh seeds each (front by front, the least crowded "
    again += "first)"
    out, told = console(), study(final={"retrain": 2, "seeds": 3})
    view, lines = LiveView(told, out), Lines(told, out)
    for number, repeat in ((4, 0), (1, 1), (1, 2)):
        retrained = replace(candidate(number), place=Place(0, repeat))
        view.started(retrained)
        assert (f"\n{again}\n" in frame(view, out)) == (repeat > 0)
        lines.started(retrained)
        said = [line.removeprefix("[0:00] ") for line in out.export_text().splitlines()]
        assert said == [again] * (repeat == 1) + [f"trial {number} started: S2, 1.23 M MACs"]


def test_the_score_is_that_of_the_study_s_task(clock: Clock) -> None:
    dense = study(task={"name": "segmentation", "data": "roads"})
    out = console()
    lines = Lines(dense, out)
    lines.finished(finished(0, metrics={"miou": 0.5, "aacc": 0.9}))
    assert out.export_text() == (
        "[0:00] trial 0 S2, 1.23 M MACs: miou 0.5000, 12.3 s, 1 done of 6\n"
    )
    out = console()
    view = LiveView(dense, out)
    view.finished(finished(0, metrics={"miou": 0.5}))
    view.finished(finished(1, metrics={"miou": 0.25}))
    shown = frame(view, out)
    assert "best miou 0.5000 (S2, " in shown
