"""AdamW and its schedule, with a learning rate for each mixer family."""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import create_optimizer_v2, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn

from ..config import Recipe
from ..errors import ArchitectureError, ConfigError
from ..mixers import mixer_class
from ..network import NetworkStage


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
    """AdamW; biases, norms and model.no_weight_decay() are left without decay."""
    return create_optimizer_v2(
        parameter_groups(model, recipe),
        opt="adamw",
        lr=recipe.lr,
        weight_decay=0.0,  # the groups have their own
        fused=True if device.type == "cuda" else None,  # one kernel for all weights
    )


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameters by weight decay and by lr_scale, which timm's schedules multiply lr by."""
    untouched: set[str] = getattr(model, "no_weight_decay", set)()
    groups: list[dict[str, Any]] = param_groups_weight_decay(
        model, recipe.weight_decay, no_weight_decay_list=untouched
    )
    scale_of = _scales(model, recipe)
    if not scale_of:
        return groups
    split: dict[tuple[int, float], dict[str, Any]] = {}
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            scale = scale_of.get(parameter, 1.0)
            fresh = {**group, "params": [], "lr_scale": scale}
            split.setdefault((number, scale), fresh)["params"].append(parameter)
    return list(split.values())


def build_schedule(
    optimizer: torch.optim.Optimizer, recipe: Recipe, epochs: int, steps_per_epoch: int
) -> CosineLRScheduler:
    """By steps: up to recipe.lr in a straight line, then down to recipe.min_lr by half a cosine."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    return CosineLRScheduler(
        optimizer,
        t_initial=max(1, epochs * steps_per_epoch - warmup),
        lr_min=recipe.min_lr,
        warmup_t=warmup,
        warmup_lr_init=recipe.lr / (warmup + 1),  # the first step counts: it is not at 0
        warmup_prefix=True,
        t_in_epochs=False,
    )


def _scales(model: nn.Module, recipe: Recipe) -> dict[nn.Parameter, float]:
    """Of the parameters of blocks whose mixer's family has a learning rate of its own."""
    found: dict[nn.Parameter, float] = {}
    for stage in model.modules() if recipe.lr_scale else ():
        if isinstance(stage, NetworkStage):
            for name, block in zip(stage.mixers, stage.blocks, strict=True):
                if name in recipe.lr_scale:
                    found |= dict.fromkeys(block.parameters(), recipe.lr_scale[name])
    return found
