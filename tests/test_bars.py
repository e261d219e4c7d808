"""Bars in the table of a front."""

from __future__ import annotations

import pytest
from cli_helpers import Cli

from hybridnas.cli.bars import bar, front_bars

pytest_plugins = ["cli_helpers"]


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0.0, "▏"), (1.0, "█" * 10), (0.5, "█" * 5), (0.55, "█" * 5 + "▌"), (2.0, "█" * 10)],
)
def test_a_bar_is_as_long_as_its_share(share: float, drawn: str) -> None:
    assert bar(share) == drawn


def test_scores_fill_their_range_and_costs_begin_at_nothing() -> None:
    low, middle, high = front_bars(
        [{"top1": 0.9, "macs": 1e6}, {"top1": 0.92, "macs": 2e6}, {"top1": 0.94, "macs": 4e6}]
    )
    assert (low["top1"], middle["top1"], high["top1"]) == (bar(0), bar(0.5), bar(1))
    assert (low["macs"], middle["macs"], high["macs"]) == (bar(0.25), bar(0.5), bar(1))
    assert front_bars([]) == []
    assert front_bars([{"top1": 0.9}])[0] == {"top1": bar(0)}


def test_a_wide_terminal_shows_them_and_a_pipe_does_not(
    populated: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "bar" not in populated("pareto", "shapes").out
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich: as if it were a terminal
    monkeypatch.setenv("COLUMNS", "140")
    shown = populated("pareto", "shapes").out
    assert "top1 bar" in shown
    assert "█" * 10 in shown
    assert "bars: scores from the lowest of the front to its highest" in shown
    monkeypatch.setenv("COLUMNS", "90")
    assert "bar" not in populated("pareto", "shapes").out
