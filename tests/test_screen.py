"""What is left on a screen of 80 x 24 when a view that was drawn over itself ends."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from rich.console import Console
from screen_helpers import Screen
from test_live import candidate, finished, study

from hybridnas.cli import StderrNow
from hybridnas.cli.bar import Bar
from hybridnas.cli.live import LiveView

LONG: dict[str, Any] = {
    "reason": "out_of_memory",
    "message": "no room for so many activations at once, alas",
}


def terminal(screen: Screen) -> Console:
    return Console(file=screen, force_terminal=True, width=80, height=24, markup=False)  # type: ignore[arg-type]


def view_with(screen: Screen, running: int, wrap: bool = True) -> LiveView:
    """A search in the middle: a heading of two lines, a plot, and eight endings."""
    view = LiveView(study(name="a-study-with-a-rather-long-name"), terminal(screen))
    view.note("2 candidates at once, 1 CPU each; trainings begin when their processes have started")
    for number in range(8):
        costs = {"macs": 1e6 * (1 + number), "params": 5000.0}
        failed = LONG if wrap and number > 2 else {}
        view.finished(finished(number, 0.5, costs=costs, **failed))
    for number in range(8, 8 + running):
        view.started(candidate(number))
    return view


@pytest.mark.parametrize("running", [0, 2, 16, 40])
def test_nothing_of_the_live_view_stays(running: int) -> None:
    screen = Screen()
    screen.write("what was said before\n" * 20)
    with view_with(screen, running) as view:
        for _ in range(3):
            view._live.refresh()
        assert "a-study-with-a-rather-long-name" in "\n".join(screen.lines())
        assert len(screen.lines()) <= 20 + 23
        assert ("..." in screen.lines()[-1]) == (running == 40)
    assert screen.lines() == ["what was said before"] * 20


def test_the_newest_endings_and_the_plot_share_the_screen() -> None:
    screen = Screen()
    with view_with(screen, 2) as view:
        view._live.refresh()
        shown = "\n".join(screen.lines())
        assert "front so far" in shown
        assert "trial 7 S2, 8.00 M MACs: failed, out_of_memory (no room for so many" in shown
        assert "trial 0 " not in shown


def test_a_key_that_the_terminal_shows_leaves_nothing_behind() -> None:
    screen = Screen()
    with view_with(screen, 0, wrap=False) as view:
        for length in range(60, 81):
            view.finished(finished(9, **{**LONG, "message": "x" * length}))
            view._live.refresh()
            screen.write("^C")
        view._live.refresh()
        (heading,) = (line for line in screen.lines() if "a-study" in line)
        assert heading == screen.lines()[0]
    assert screen.lines() == [""]


def test_neither_does_a_bar() -> None:
    screen = Screen()
    with Bar(terminal(screen)) as bar:
        for done in range(3):
            bar.tell("training on the one device that there is", done, 40)
            screen.write("^C")
    assert screen.lines() == [""]


def test_what_is_logged_stands_above_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen, log, handler = Screen(), logging.getLogger("a.part"), StderrNow()
    monkeypatch.setattr("sys.stderr", screen)
    log.addHandler(handler)
    try:
        with Bar(terminal(screen)) as bar:
            bar.tell("training", 1, 40)
            log.warning("something is odd")
    finally:
        log.removeHandler(handler)
    assert screen.lines() == ["something is odd"]
