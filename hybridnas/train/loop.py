"""The training loop: one model, one protocol, from first to last epoch."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..config import Protocol
from ..data.batches import TrainingBatches
from ..tasks import TASKS
from .optimizer import build_optimizer, build_schedule

# Looking at the loss waits for the GPU, so it is done once in so many steps.
_STEPS_BETWEEN_CHECKS = 50


class Diverged(Exception):
    """The loss or the weights are no longer finite."""


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One epoch: counted from 1; mean training loss; learning rate of its last step."""

    epoch: int
    loss: float
    lr: float
    seconds: float
    images_per_second: float


def train(
    model: nn.Module,
    loader: TrainingBatches,
    protocol: Protocol,
    device: torch.device,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> list[EpochRecord]:
    """Trains `model`, which is on `device` already, in place; returns the curve.

    In bfloat16 autocast on CUDA, in float32 elsewhere. on_epoch: told of every epoch as it ends.
    Raises Diverged, and DataError from the loader.
    """
    recipe = protocol.recipe
    loss_of = TASKS[protocol.task.name].loss(recipe)
    optimizer = build_optimizer(model, recipe, device)
    schedule = build_schedule(
        optimizer,
        recipe,
        num_steps=protocol.fidelity.epochs * len(loader),
        steps_per_epoch=len(loader),
    )
    model.train()
    curve: list[EpochRecord] = []
    for epoch in range(1, protocol.fidelity.epochs + 1):
        started = time.perf_counter()
        loss_sum = torch.zeros((), device=device)
        num_images = 0
        for step, (images, targets) in enumerate(loader, start=1):
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(model, images, targets)
            optimizer.zero_grad()
            loss.backward()
            if recipe.clip_grad is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
            lr = optimizer.param_groups[0]["lr"]
            schedule.step_update((epoch - 1) * len(loader) + step)
            loss_sum += loss.detach()
            num_images += len(images)
            if step % _STEPS_BETWEEN_CHECKS == 0:
                _check_loss(loss_sum, epoch)
        _check_loss(loss_sum, epoch)
        seconds = time.perf_counter() - started
        record = EpochRecord(
            epoch, loss_sum.item() / len(loader), lr, seconds, num_images / seconds
        )
        curve.append(record)
        if on_epoch is not None:
            on_epoch(record)
    _check_weights(model)
    return curve


def _check_loss(loss_sum: Tensor, epoch: int) -> None:
    if not loss_sum.isfinite():
        raise Diverged(f"the training loss became {loss_sum.item()} in epoch {epoch}")


def _check_weights(model: nn.Module) -> None:
    """The loss does not show what the last step did."""
    finite = torch.stack([parameter.detach().isfinite().all() for parameter in model.parameters()])
    if not finite.all():
        raise Diverged("weights are not finite after the last step")
