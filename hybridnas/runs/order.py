"""What is asked of a training, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..architecture import Architecture
from ..config import Protocol as EvaluationProtocol
from .config import RunConfig

VALIDATION_LOSS = "val_loss"  # its column of the log, in which `loss` is that of the training


@dataclass(frozen=True)
class Order:
    """What was asked for.

    recipe: its name, for the record. out: the folder. weights: a file to start from.
    checkpoint_every: steps. captured: steps as a CUDA graph where that can be. command: for the
    record.
    """

    architecture: Architecture
    recipe: str
    config: RunConfig
    out: Path
    weights: Path | None = None
    resume: bool = False
    device: str = "auto"
    loader_workers: int = 0
    checkpoint_every: int = 500
    captured: bool = True
    command: str = ""


@dataclass(frozen=True)
class Begun:
    """What is known before the first step. num_images: to train on; first_step: how many were taken
    before; batch_size: images of a step, of all processes."""

    protocol: EvaluationProtocol
    num_images: int
    num_steps: int
    steps_per_epoch: int
    batch_size: int
    first_step: int
    num_ranks: int
    device: str
    params: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands: epoch counted from 1, steps of it and of all, mean loss of the
    epoch so far, learning rate, images a second of this epoch."""

    epoch: int
    step_of_epoch: int
    step: int
    loss: float
    lr: float
    images_per_second: float


class View(Protocol):
    """Is told by the first process alone: once; after every step, how many were taken of the whole
    training (a GPU may be some behind); now and then within an epoch; after every epoch, with its
    row of the log."""

    def began(self, begun: Begun) -> None: ...

    def taken(self, steps: int) -> None: ...

    def step(self, now: Progress) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None: ...
