"""A learning rate for each mixer family."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from hybridnas import build
from hybridnas.architecture import Architecture
from hybridnas.config import Recipe
from hybridnas.errors import ConfigError
from hybridnas.train import check_recipe
from hybridnas.train.optimizer import Schedule, build_optimizer

CPU = torch.device("cpu")


def hybrid_net() -> nn.Module:
    mixers = ["gated_conv", {"name": "attention", "head_dim": 8}]
    stages = [{"width": 8, "blocks": [{"form": "gated", "mixer": mixer} for mixer in mixers]}]
    return build(Architecture.from_dict({"stages": stages}), num_classes=10)


def test_blocks_of_a_mixer_have_a_rate_of_their_own() -> None:
    model = hybrid_net()
    recipe = Recipe(lr=1e-2, min_lr=0, warmup_epochs=0, lr_scale={"attention": 0.25})
    optimizer = build_optimizer(model, recipe, CPU)
    schedule = Schedule(optimizer, recipe, num_steps=10, steps_per_epoch=5)
    names = {parameter: name for name, parameter in model.named_parameters()}
    for step, factor in ((0, 1.0), (5, 0.5), (9, (1 + math.cos(0.9 * math.pi)) / 2)):
        schedule.set(step)
        seen = {}
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                seen[names[parameter]] = (group["lr"], group["weight_decay"])
        assert seen.keys() == set(names.values())
        for name, (lr, decay) in seen.items():
            scale = 0.25 if name.startswith("stages.1.blocks.0.") else 1.0
            assert lr == pytest.approx(1e-2 * factor * scale)
            kept = name.endswith("bias") or "norm" in name
            assert decay == (0 if kept else recipe.weight_decay)


def test_a_rate_for_what_is_no_mixer_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"recipe.lr_scale: unknown mixer 'attn' \(attention\?\); known"
    ):
        check_recipe(Recipe(lr_scale={"attn": 0.5}))
    check_recipe(Recipe(lr_scale={"attention": 0.5, "ssm": 2}))
