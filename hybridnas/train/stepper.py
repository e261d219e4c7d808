"""One step of training: forward, loss, backward, clipping, AdamW, average, as eager operations.

`work` is what happens on the device and never waits for it, so a CUDA graph can record it
(hybridnas.capture); `prepare` is what the host does before. `step` is both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from ..config import Recipe
from ..tasks import Loss
from .optimizer import Schedule, build_optimizer
from .random_state import random_state, restore_random_state


def precision(device: torch.device) -> torch.autocast:
    """bfloat16 autocast on CUDA, float32 elsewhere."""
    # Without the cache of cast weights, which a CUDA graph would keep from its first replay on.
    return torch.autocast(
        device.type, torch.bfloat16, enabled=device.type == "cuda", cache_enabled=False
    )


class Stepper:
    """A model that trains, and all that changes with it.

    model: on `device` already; on CUDA its weights become channels-last. num_steps,
    steps_per_epoch: of the whole training, which the schedule follows. forward: what the loss runs
    in place of the model, such as DistributedDataParallel of it.

    steps: taken so far. loss_sum: scalar on the device, of all steps since it was last zeroed.
    average: of the weights (recipe.ema_decay; timm's ModelEmaV3), None: none is wanted.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        recipe: Recipe,
        device: torch.device,
        *,
        num_steps: int,
        steps_per_epoch: int,
        forward: nn.Module | None = None,
    ) -> None:
        if device.type == "cuda":
            model.to(memory_format=torch.channels_last)
        self.model = model
        self.device = device
        self.optimizer = build_optimizer(model, recipe, device)
        self.schedule = Schedule(
            self.optimizer, recipe, num_steps=num_steps, steps_per_epoch=steps_per_epoch
        )
        self.average: ModelEmaV3 | None = None
        if recipe.ema_decay is not None:
            self.average = ModelEmaV3(model, decay=recipe.ema_decay)
        self.steps = 0
        self.loss_sum = torch.zeros((), device=device)
        self._loss = loss
        self._recipe = recipe
        self._forward = model if forward is None else forward

    @property
    def trained(self) -> nn.Module:
        """What is scored: the average's model where there is one."""
        return self.model if self.average is None else self.average.module

    def step(self, images: Any, targets: Any) -> None:
        """One step on a batch as the task's training loader gives it."""
        self.prepare()
        self.work(images, targets)

    def prepare(self) -> None:
        """Sets the learning rates of the next step, and counts it."""
        self.schedule.set(self.steps)
        self.steps += 1

    def work(self, images: Any, targets: Any) -> None:
        """Forward to average. Gradients are freed before, so a graph's lie in its own memory."""
        self.optimizer.zero_grad(set_to_none=True)
        with precision(self.device):
            loss = self._loss(self._forward, images, targets)
        loss.backward()
        if self._recipe.clip_grad is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._recipe.clip_grad)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        self.loss_sum += loss.detach()

    def changing(self) -> Iterator[Tensor]:
        """Every tensor that a step changes in place; of the optimiser's only those that it has."""
        yield from self.model.parameters()
        yield from self.model.buffers()
        if self.average is not None:
            yield from self.average.module.parameters()
            yield from self.average.module.buffers()
        yield self.loss_sum
        for state in self.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, to go on from: weights, optimiser, average, number of steps
        and all random numbers. The schedule follows from the number of steps."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict()["state"],
            "average": None if self.average is None else self.average.module.state_dict(),
            "steps": self.steps,
            "random": random_state(self.device),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from there: before the first step, since a captured one knows its tensors."""
        self.model.load_state_dict(state["model"])
        # The groups stay our own: their rates may be tensors, which those in a file would replace.
        groups = self.optimizer.state_dict()["param_groups"]
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        self.steps = int(state["steps"])
        restore_random_state(state["random"], self.device)
