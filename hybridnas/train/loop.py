"""The training loop: one model, one protocol, from first to last epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from ..config import Protocol
from ..data.batches import TrainingBatches
from ..tasks import TASKS
from .runner import Runner
from .stepper import Stepper

# Looking at the loss waits for the GPU, so it is done once in so many steps.
STEPS_BETWEEN_LOOKS = 50


class Diverged(Exception):
    """The loss or the weights are no longer finite."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch: counted from 1; mean training loss; learning rate of its last step; and how
    many epochs are begun in all."""

    epoch: int
    loss: float
    lr: float
    seconds: float
    images_per_second: float
    num_epochs: int


@dataclass(frozen=True)
class Training:
    """What a training gave.

    model: what is scored: the one that was trained, or the average of its weights.
    stepping, capture_s, busy_s: as Runner has them.
    """

    model: nn.Module
    curve: list[EpochRecord]
    stepping: str
    capture_s: float
    busy_s: float


def train(
    model: nn.Module,
    batches: TrainingBatches,
    protocol: Protocol,
    device: torch.device,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    *,
    captured: bool = True,
) -> Training:
    """Trains `model`, which is on `device` already, in place.

    In bfloat16 autocast on CUDA, in float32 elsewhere. on_epoch: told of every epoch as it ends.
    captured: whether a CUDA graph may hold the step. Raises Diverged, and DataError from the
    loader.
    """
    recipe, fidelity = protocol.recipe, protocol.fidelity
    loss = TASKS[protocol.task.name].loss(recipe)
    num_steps = fidelity.num_steps(len(batches))
    stepper = Stepper(
        model, loss, recipe, device, num_steps=num_steps, steps_per_epoch=len(batches)
    )
    runner = Runner(stepper, batches, captured=captured)
    model.train()
    curve: list[EpochRecord] = []
    lengths = fidelity.steps_by_epoch(len(batches))
    for epoch, steps in enumerate(lengths, start=1):
        taken = runner.epoch(epoch)
        if steps < len(batches):
            taken = islice(taken, steps)
        curve.append(_epoch(stepper, taken, epoch, steps, len(lengths)))
        if on_epoch is not None:
            on_epoch(curve[-1])
    check_weights(model)
    # As they will be exported: another layout may be computed with by other algorithms.
    stepper.trained.to(memory_format=torch.contiguous_format)
    return Training(stepper.trained, curve, runner.stepping, runner.capture_s, runner.busy_s)


def _epoch(
    stepper: Stepper, taken: Iterator[int], epoch: int, num_steps: int, num_epochs: int
) -> EpochRecord:
    started = time.perf_counter()
    stepper.loss_sum.zero_()
    num_images = 0
    for step, number in enumerate(taken, start=1):
        num_images += number
        if step % STEPS_BETWEEN_LOOKS == 0 and step + STEPS_BETWEEN_LOOKS <= num_steps:
            check_loss(stepper.loss_sum.item(), epoch)
    loss_sum: float = stepper.loss_sum.item()
    check_loss(loss_sum, epoch)
    seconds = time.perf_counter() - started
    rate = stepper.schedule.rate
    return EpochRecord(epoch, loss_sum / num_steps, rate, seconds, num_images / seconds, num_epochs)


def check_loss(loss: float, epoch: int) -> None:
    """Diverged where the loss, or a sum of it, is not finite."""
    if not math.isfinite(loss):
        raise Diverged(f"the training loss became {loss} in epoch {epoch}")


def check_weights(model: nn.Module) -> None:
    """The loss does not show what the last step did."""
    finite = torch.stack([parameter.detach().isfinite().all() for parameter in model.parameters()])
    if not finite.all():
        raise Diverged("weights are not finite after the last step")
