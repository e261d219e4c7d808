"""Measurements tell how far they are, and nothing draws while something is measured."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from run_helpers import PLAIN, Told, config, order

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cli import bar as bars
from hybridnas.cli.bar import Bar
from hybridnas.cli.training_view import TrainingView
from hybridnas.layers.blocks import Gated
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.profiling import profile, setting_for
from hybridnas.profiling.timing import Effort, time_in_turn
from hybridnas.runs import Progress, run_recipe

TINY = Architecture((Stage(8, (Block(Gated(), GatedConv()),)),))


def test_a_profile_tells_of_each_round() -> None:
    told: list[tuple[str, int, int]] = []
    effort = Effort(warmup=1, rounds=2, runs=1, seconds=0.1)
    setting = setting_for(torch.device("cpu"), (32, 32), 1)
    profile(TINY, setting, 10, effort, lambda *step: told.append(step))
    assert told == [
        ("inference, warming up", 0, 4),
        *(("inference", done, 4) for done in (0, 1, 2)),
        ("training, warming up", 2, 4),
        *(("training", done, 4) for done in (2, 3, 4)),
    ]


def test_rounds_are_told_between_them() -> None:
    order: list[object] = []

    def clock(run: object, times: int) -> float:
        order.append("timed")
        return 1.0

    time_in_turn([lambda: None], clock, Effort(rounds=2), order.append)
    assert order[-5:] == [0, "timed", 1, "timed", 2]


def test_a_bar_in_a_terminal_draws_when_told_only() -> None:
    out = io.StringIO()
    before = threading.active_count()
    with Bar(Console(file=out, force_terminal=True, width=90)) as bar:
        bar.tell("pieces", 3, 40)
        assert threading.active_count() == before
        assert "pieces" in out.getvalue()
        assert "3/40" in out.getvalue()
    assert "3 of 40" not in out.getvalue()


def test_the_bar_of_a_training_counts_every_step_and_fits_80_columns(tmp_path: Path) -> None:
    told, seen = order(tmp_path / "run", config=config(PLAIN, 8, epochs=1)), Told()
    run_recipe(told, seen, lambda: False)
    out = io.StringIO()
    with TrainingView(Console(file=out, force_terminal=True, width=80), "small", told) as view:
        view.began(seen.begun[0])
        view.step(Progress(1, 2, 2, 2.3456, 1e-3, 1234.5))
        view.taken(3)
    last = out.getvalue().rpartition("epoch 1/1, loss 2.3456, 1,234 images/s ")[2]
    assert " 3/10 steps 0:00:00 left -:--:--" in re.sub(r"\x1b\[[0-9;?]*\w", "", last)


def test_elsewhere_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(bars, "time", SimpleNamespace(monotonic=lambda: now))
    out = io.StringIO()
    with Bar(Console(file=out)) as bar:
        for done in range(1, 31):
            now += 1.0
            bar.tell("pieces", done, 30)
    assert out.getvalue().splitlines() == [f"pieces: {done} of 30" for done in (10, 20, 30)]
