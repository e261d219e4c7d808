"""Several processes of one training: they stop together, and together they go on.

The others are played by what `summed` and `gathered` give.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from run_helpers import After, Told
from torch import nn

from hybridnas.config import Recipe
from hybridnas.data.batches import Placement
from hybridnas.errors import ConfigError
from hybridnas.processes import Share
from hybridnas.runs.folder import RunFolder
from hybridnas.runs.training import Interrupted, Length, Training
from hybridnas.tasks import Score
from hybridnas.train import Runner, Stepper

CPU = torch.device("cpu")
TWO = Share(0, 2)
SUMMED, GATHERED = "hybridnas.runs.training.summed", "hybridnas.runs.training.gathered"


class Counting(Runner):
    """Takes no step, but counts them; each has a loss of 1."""

    def epoch(self, number: int, first: int = 0) -> Iterator[int]:
        for _ in range(first, len(self._batches)):
            self._stepper.prepare()
            self._stepper.loss_sum += 1
            yield 1


def training(
    folder: Path,
    stop: Callable[[], bool],
    *,
    steps_per_epoch: int = 30,
    data: Placement = "device",
    share: Share = TWO,
) -> Training:
    model = nn.Linear(2, 2)
    length = Length(20, 20 * steps_per_epoch, steps_per_epoch, 100, 10**9)
    stepper = Stepper(
        model,
        lambda model, images, targets: torch.zeros(()),
        Recipe(),
        CPU,
        num_steps=length.steps,
        steps_per_epoch=steps_per_epoch,
    )
    batches: Any = range(steps_per_epoch)
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    return Training(
        stepper,
        Counting(stepper, batches),
        length,
        unreadable=lambda: 0,
        score=lambda: Score({"top1": 0.5}, 1, 0, 1, "cpu"),
        metric="top1",
        folder=RunFolder(folder),
        data=data,
        share=share,
        seed=5,
        view=Told(),
        stop=stop,
    )


@pytest.fixture(autouse=True)
def another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second process that says what this one says."""
    monkeypatch.setattr(SUMMED, lambda x: 2 * x)
    monkeypatch.setattr(GATHERED, lambda value: [value, value])


@pytest.mark.parametrize(
    ("steps_per_epoch", "times", "step"), [(3, 1, 3), (3, 3, 9), (30, 1, 10), (12, 3, 20)]
)
def test_processes_ask_about_every_ten_steps_and_at_ends_of_epochs(
    steps_per_epoch: int, times: int, step: int, tmp_path: Path
) -> None:
    told = training(tmp_path, After(times), steps_per_epoch=steps_per_epoch)
    with pytest.raises(Interrupted):
        told.run(None)
    assert told.step == step


def stopped(folder: Path) -> Training:
    """A training that stopped after ten steps."""
    told = training(folder, After(1))
    with pytest.raises(Interrupted):
        told.run(None)
    return told


def test_each_process_goes_on_from_the_mean_of_their_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SUMMED, lambda x: x + 3 * x)  # the other one's losses are 3
    stopped(tmp_path)
    state = RunFolder(tmp_path).load()
    assert state is not None
    assert state["loss_sum"] == 10 * 2


def test_a_process_that_finds_no_checkpoint_does_not_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path)
    again = training(tmp_path, After(1))
    with monkeypatch.context() as patch:
        patch.setattr(GATHERED, lambda value: [value, None])
        with pytest.raises(ConfigError, match=r"steps taken: \[10, None\]\); --out must be"):
            again.resume()
    again.resume()
    assert again.step == 10


def test_another_number_of_processes_draw_numbers_of_their_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stopped(tmp_path)

    def drawn(rank: int, num_ranks: int) -> list[float]:
        training(tmp_path, After(1), share=Share(rank, num_ranks)).resume()
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    as_before = drawn(0, 2)
    assert as_before == drawn(0, 2)
    assert caplog.text == ""
    more = [drawn(rank, 4) for rank in range(4)]
    assert more == [drawn(rank, 4) for rank in range(4)]
    assert len({number for numbers in [as_before, *more] for number in numbers}) == 5 * 3
    assert "number of processes: 2 then, 4 now" in caplog.text


@pytest.mark.parametrize(
    ("steps_per_epoch", "data", "warns"),
    [(30, "device", False), (30, "host", False), (30, "stream", True), (10, "stream", False)],
)
def test_another_order_of_a_begun_epoch_is_told(
    steps_per_epoch: int,
    data: Placement,
    warns: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It stops after the tenth step, which may be the last of its epoch."""
    with pytest.raises(Interrupted):
        training(tmp_path, After(1), steps_per_epoch=steps_per_epoch).run(None)
    training(tmp_path, After(1), steps_per_epoch=steps_per_epoch, data=data).resume()
    assert ("in the rest of epoch 1 some may come twice" in caplog.text) == warns
