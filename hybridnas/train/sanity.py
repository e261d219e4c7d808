"""Whether a candidate can learn at all, found out before its training is paid for."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Recipe
from ..counting import number_of
from ..network import NetworkStage
from ..tasks import Loss
from .optimizer import build_optimizer
from .stepper import precision

# Far beyond what a network that learns shows, so that only a broken one is refused.
LARGEST, SMALLEST = 1e4, 1e-7
STEPS = 6


class Broken(Exception):
    """The candidate cannot learn from where it starts."""


def check_start(
    model: nn.Module,
    images: Any,
    targets: Any,
    loss_of: Loss,
    recipe: Recipe,
    device: torch.device,
) -> None:
    """Raises Broken, which says why, for a model that is broken at its initialisation.

    images, targets: a few of the task's, on `device` as the model is. A copy of the
    model sees them: activations after every stage, loss and gradients must be finite, of a root
    mean square above SMALLEST (activations below LARGEST too), and the loss must fall within STEPS
    steps of AdamW, clipped as the recipe says, at a tenth of its learning rate; when it has fallen,
    no more are taken. Model and random numbers are left as they were.
    """
    model = copy.deepcopy(model).train()
    calm = recipe.model_copy(update={"lr": recipe.lr / 10})
    optimizer = build_optimizer(model, calm, device)
    losses: list[float] = []
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for step in range(STEPS + 1):
            # What the stages give is judged once, at the start.
            watching: AbstractContextManager[list[Tensor]]
            watching = _watched(model) if step == 0 else nullcontext([])
            with watching as activations, precision(device):
                loss = loss_of(model, images, targets)
            for number, size in enumerate(activations, start=1):
                _judge(f"activations after stage {number}", size.item(), LARGEST)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]) and step > 0:
                raise Broken(f"the loss is {losses[-1]} after {number_of(step, 'step')}")
            if losses[-1] < losses[0]:
                return
            optimizer.zero_grad()
            loss.backward()
            if step == 0:
                # Tokens that pad a window have steep norms: large gradients may be no fault.
                _judge("gradients", _gradient_size(model), math.inf)
            if recipe.clip_grad is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
    raise Broken(
        f"the loss does not fall on {len(images)} images: {losses[0]:.4g} at first, at best "
        f"{min(losses[1:]):.4g} in {STEPS} steps"
    )


def _judge(what: str, size: float, largest: float) -> None:
    if not math.isfinite(size):
        raise Broken(f"{what} are not finite at initialisation")
    if size > largest:
        raise Broken(f"{what} explode at initialisation: {size:.1e} is above {largest:.0e}")
    if size < SMALLEST:
        raise Broken(f"{what} vanish at initialisation: {size:.1e} is below {SMALLEST:.0e}")


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the root mean square of each stage's output."""
    sizes: list[Tensor] = []

    def watch(module: nn.Module, given: Any, output: Tensor) -> None:
        sizes.append(output.detach().float().square().mean().sqrt())

    stages = [module for module in model.modules() if isinstance(module, NetworkStage)]
    hooks = [stage.register_forward_hook(watch) for stage in stages]
    try:
        yield sizes
    finally:
        for hook in hooks:
            hook.remove()


def _gradient_size(model: nn.Module) -> float:
    """The root mean square over all parameters that got a gradient."""
    found = [p.grad.detach().float() for p in model.parameters() if p.grad is not None]
    squares = torch.stack([gradient.square().sum() for gradient in found]).sum()
    return float((squares / sum(gradient.numel() for gradient in found)).sqrt())
