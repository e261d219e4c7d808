"""AdamW and its schedule, with a learning rate for each mixer family and each layer."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import group_parameters
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler, MultiStepLRScheduler, PolyLRScheduler
from timm.scheduler.scheduler import Scheduler
from torch import nn

from ..config import Recipe
from ..counting import number_of
from ..errors import ArchitectureError, ConfigError
from ..mixers import mixer_class
from ..network import NetworkStage
from .init import network_of


def check_recipe(recipe: Recipe) -> None:
    """Raises ConfigError where lr_scale names what is no mixer."""
    for name in recipe.lr_scale:
        try:
            mixer_class(name, "recipe.lr_scale")
        except ArchitectureError as error:
            raise ConfigError(str(error)) from None


def build_optimizer(
    model: nn.Module, recipe: Recipe, device: torch.device
) -> torch.optim.Optimizer:
    """AdamW; biases, norms and model.no_weight_decay() are left without decay.

    On CUDA one kernel for all weights, and learning rates that lie there, as a captured step needs.
    """
    on_gpu = device.type == "cuda"
    optimizer = create_optimizer_v2(
        parameter_groups(model, recipe),
        opt="adamw",
        lr=recipe.lr,
        weight_decay=0.0,  # the groups have their own
        betas=recipe.betas,
        eps=recipe.eps,
        fused=True if on_gpu else None,
        capturable=on_gpu,
    )
    if on_gpu:
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"], device=device)
    return optimizer


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by weight decay and by lr_scale, which timm's schedules multiply lr by.

    lr_scale of a parameter: recipe.lr_scale of its block's mixer times recipe.layer_decay to the
    power of the layers above its own, as timm counts them by the network's group_matcher; a dense
    task's head is the layer above its network.
    """
    untouched: set[str] = getattr(model, "no_weight_decay", set)()
    groups: list[dict[str, Any]] = param_groups_weight_decay(
        model, recipe.weight_decay, no_weight_decay_list=untouched
    )
    of_mixer, of_layer = _mixer_scales(model, recipe), _layer_scales(model, recipe)
    if not of_mixer and not of_layer:
        return groups
    split: dict[tuple[int, float], dict[str, Any]] = {}
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            scale = of_mixer.get(parameter, 1.0) * of_layer.get(parameter, 1.0)
            fresh = {**group, "params": [], "lr_scale": scale}
            split.setdefault((number, scale), fresh)["params"].append(parameter)
    return list(split.values())


class Schedule:
    """Learning rates by steps, as `build_schedule` has them."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        *,
        num_steps: int,
        steps_per_epoch: int,
    ) -> None:
        self._optimizer = optimizer
        # timm's schedule writes numbers, which must not take the place of tensors: it has groups
        # of its own.
        scales = [group.get("lr_scale", 1.0) for group in optimizer.param_groups]
        self._rates = torch.optim.SGD(
            [{"params": [torch.zeros(())], "lr_scale": scale} for scale in scales], lr=recipe.lr
        )
        self._schedule = build_schedule(
            self._rates, recipe, num_steps=num_steps, steps_per_epoch=steps_per_epoch
        )

    @property
    def rate(self) -> float:
        """As it was set last, without the factors of mixers and layers."""
        group = self._rates.param_groups[0]
        return float(group["lr"] / group["lr_scale"])

    def set(self, step: int) -> None:
        """Gives the optimizer the rates of a step, counted from 0."""
        self._schedule.step_update(step)
        for group, rated in zip(
            self._optimizer.param_groups, self._rates.param_groups, strict=True
        ):
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rated["lr"])
            else:
                group["lr"] = rated["lr"]


def build_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, *, num_steps: int, steps_per_epoch: int
) -> Scheduler:
    """By steps, of which num_steps make the whole training (Recipe says what each schedule does).

    Raises ConfigError where warm-up and cool-down leave none of it.
    """
    warmup = recipe.warmup_steps
    if warmup is None:
        warmup = round(recipe.warmup_epochs * steps_per_epoch)
    cooldown = round(recipe.cooldown_epochs * steps_per_epoch)
    if recipe.warmup_steps is not None or cooldown:
        _check_length(recipe, warmup + cooldown, num_steps, steps_per_epoch)
    before = recipe.warmup == "before"
    start = recipe.lr / (warmup + 1) if recipe.warmup_lr is None else recipe.warmup_lr
    shared: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": start,  # the first step counts: it is not at 0
        "warmup_prefix": before,
        "t_in_epochs": False,
    }
    if recipe.schedule == "multistep":
        # timm decays one step early (MultiStepLRScheduler.get_curr_decay_steps); epochs count from
        # the start, warm-up or not.
        ends = [m * steps_per_epoch + 1 - (warmup if before else 0) for m in recipe.milestones]
        return MultiStepLRScheduler(optimizer, ends, recipe.decay_rate, **shared)
    span = max(1, num_steps - cooldown - (warmup if before else 0))
    # There is one cycle, so that nothing decays by this; but timm warns of a cycle of one step
    # that would be like the next.
    shared["cycle_decay"] = 0.5
    if recipe.schedule == "poly":
        return PolyLRScheduler(optimizer, span, power=recipe.power, lr_min=recipe.min_lr, **shared)
    return CosineLRScheduler(optimizer, span, lr_min=recipe.min_lr, **shared)


def _check_length(recipe: Recipe, taken: int, num_steps: int, steps_per_epoch: int) -> None:
    if taken >= num_steps:
        raise ConfigError(
            f"recipe: warm-up and cool-down take {number_of(taken, 'step')} of a training of "
            f"{num_steps} ({steps_per_epoch} an epoch): train longer, or lower warmup_epochs, "
            "warmup_steps or cooldown_epochs"
        )


def _mixer_scales(model: nn.Module, recipe: Recipe) -> dict[nn.Parameter, float]:
    """Of the parameters of blocks whose mixer's family has a learning rate of its own."""
    found: dict[nn.Parameter, float] = {}
    for stage in model.modules() if recipe.lr_scale else ():
        if isinstance(stage, NetworkStage):
            for name, block in zip(stage.mixers, stage.blocks, strict=True):
                if name in recipe.lr_scale:
                    found |= dict.fromkeys(block.parameters(), recipe.lr_scale[name])
    return found


def _layer_scales(model: nn.Module, recipe: Recipe) -> dict[nn.Parameter, float]:
    """Of the parameters of the network in a task's model; no others are scaled."""
    if recipe.layer_decay == 1:
        return {}
    network = network_of(model)
    layers = group_parameters(network, network.group_matcher(), reverse=True)
    head = 1 + max(layer for name, layer in layers.items() if name.startswith("stages."))
    return {
        parameter: recipe.layer_decay ** (head - min(layers[name], head))
        for name, parameter in network.named_parameters()
    }
