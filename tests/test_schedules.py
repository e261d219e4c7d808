"""Learning rates by step against closed forms, and by layer against a count of layers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn

from hybridnas import build
from hybridnas.architecture import Architecture
from hybridnas.config import Recipe
from hybridnas.errors import ConfigError
from hybridnas.heads import UPerNet
from hybridnas.network import HybridNet
from hybridnas.train.optimizer import build_optimizer, build_schedule, parameter_groups

CPU = torch.device("cpu")


def rates(recipe: Recipe, num_steps: int, steps_per_epoch: int) -> list[float]:
    """What each step is taken with, and what one more would be."""
    optimizer = build_optimizer(nn.Linear(2, 2), recipe, CPU)
    schedule = build_schedule(
        optimizer, recipe, num_steps=num_steps, steps_per_epoch=steps_per_epoch
    )
    found = [optimizer.param_groups[0]["lr"]]
    for step in range(1, num_steps + 1):
        schedule.step_update(step)
        found.append(optimizer.param_groups[0]["lr"])
    return found


def cosine_within(step: int) -> float:  # timm's, as MambaOut's train.py has it
    if step < 20:
        return 1e-6 + step * (4e-3 - 1e-6) / 20
    if step >= 100:
        return 1e-5
    return 1e-5 + 0.5 * (4e-3 - 1e-5) * (1 + math.cos(math.pi * step / 100))


def poly(step: int) -> float:  # mmsegmentation's, of power 1
    return step * 1e-4 / 15 if step < 15 else 1e-4 * (1 - step / 110)


def multistep(step: int) -> float:  # mmdetection's 1x, with 10 steps an epoch
    if step < 5:
        return 1e-7 + step * (1e-4 - 1e-7) / 5
    return 1e-4 * 0.1 ** ((step >= 80) + (step >= 110))


CASES: dict[str, tuple[dict[str, object], Callable[[int], float], int]] = {
    "cosine": (
        {
            "lr": 4e-3,
            "min_lr": 1e-5,
            "warmup_epochs": 2,
            "warmup_lr": 1e-6,
            "warmup": "within",
            "cooldown_epochs": 1,
        },
        cosine_within,
        110,
    ),
    "poly": (
        {
            "lr": 1e-4,
            "min_lr": 0,
            "schedule": "poly",
            "warmup_steps": 15,
            "warmup_lr": 0,
            "warmup": "within",
        },
        poly,
        110,
    ),
    "multistep": (
        {
            "lr": 1e-4,
            "schedule": "multistep",
            "milestones": [8, 11],
            "warmup_steps": 5,
            "warmup_lr": 1e-7,
            "warmup": "within",
        },
        multistep,
        120,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_schedule_is_its_formula(name: str) -> None:
    told, formula, num_steps = CASES[name]
    found = rates(Recipe.model_validate(told), num_steps, 10)
    assert found == pytest.approx([formula(step) for step in range(num_steps + 1)], abs=1e-12)


def test_milestones_count_from_the_start_when_the_warm_up_comes_before_too() -> None:
    recipe = Recipe(lr=1.0, schedule="multistep", milestones=(2,), warmup_steps=5, warmup_lr=0)
    found = rates(recipe, 30, 10)
    assert [found[19], found[20]] == pytest.approx([1.0, 0.1])


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"milestones": [8]}, "milestones: the epochs of schedule multistep, and of no other"),
        ({"schedule": "multistep"}, "schedule multistep with milestones"),
        ({"schedule": "multistep", "milestones": [11, 8]}, r"must rise, got \[11, 8\]"),
    ],
)
def test_milestones_belong_to_multistep(told: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe.model_validate(told)


def test_a_warm_up_longer_than_the_training_is_refused() -> None:
    with pytest.raises(ConfigError, match="take 30 steps of a training of 30"):
        rates(Recipe(warmup_epochs=2, cooldown_epochs=1), 30, 10)


def architecture() -> Architecture:
    mixers = ["gated_conv", {"name": "attention", "head_dim": 8}]
    stages = [
        {"width": width, "blocks": [{"form": "gated", "mixer": mixer} for mixer in mixers]}
        for width in (8, 16)
    ]
    return Architecture.from_dict({"stages": stages})


def test_layer_decay_counts_layers_from_the_head() -> None:
    """stem, two blocks, two blocks (the downsampler is the third's), head: six layers."""
    model = build(architecture(), num_classes=10)
    names = {parameter: name for name, parameter in model.named_parameters()}
    recipe = Recipe(layer_decay=0.5, lr_scale={"attention": 3.0})
    seen: dict[str, tuple[float, float]] = {}
    for group in parameter_groups(model, recipe):
        for parameter in group["params"]:
            seen[names[parameter]] = (group["lr_scale"], group["weight_decay"])
    assert seen.keys() == set(names.values())
    wanted = {  # prefix: layers above, factor of the mixer
        "stem.": (5, 1),
        "stages.0.blocks.0.": (4, 1),
        "stages.0.blocks.1.": (3, 3),
        "stages.1.downsample.": (2, 1),
        "stages.1.blocks.0.": (2, 1),
        "stages.1.blocks.1.": (1, 3),
        "head.": (0, 1),
    }
    for name, (scale, decay) in seen.items():
        ((above, factor),) = [wanted[prefix] for prefix in wanted if name.startswith(prefix)]
        assert scale == pytest.approx(0.5**above * factor), name
        assert (decay == 0) == (name.endswith("bias") or "norm" in name), name


def test_layer_decay_is_timms() -> None:
    model = build(architecture(), num_classes=10)
    for told in (Recipe(layer_decay=0.7), Recipe(layer_decay=0.65, weight_decay=0.2)):
        timms = param_groups_layer_decay(model, told.weight_decay, layer_decay=told.layer_decay)
        wanted, found = (
            {
                p: (group["lr_scale"], group["weight_decay"])
                for group in groups
                for p in group["params"]
            }
            for groups in (timms, parameter_groups(model, told))
        )
        assert found == wanted


def test_the_head_of_a_dense_task_learns_at_the_full_rate() -> None:
    recipe = Recipe(layer_decay=0.5)
    model = UPerNet(HybridNet(architecture(), num_classes=0), 3, width=16)
    names = {parameter: name for name, parameter in model.named_parameters()}
    scales = {
        names[p]: group["lr_scale"]
        for group in parameter_groups(model, recipe)
        for p in group["params"]
    }
    assert scales["decode_head.classifier.weight"] == 1
    assert scales["backbone.stages.1.blocks.1.proj_out.weight"] == 0.5
    assert scales["backbone.stem.conv1.weight"] == 0.5**5


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_a_single_step_at_the_full_rate_is_nothing_to_warn_of(
    schedule: str, caplog: pytest.LogCaptureFixture
) -> None:
    told = {"schedule": schedule, "lr": 1e-3, "min_lr": 1e-5, "warmup_epochs": 0}
    assert rates(Recipe.model_validate(told), 1, 1) == [1e-3, 1e-5]
    cooled = Recipe.model_validate({**told, "cooldown_epochs": 2})
    assert rates(cooled, 3, 1) == [1e-3, 1e-5, 1e-5, 1e-5]
    assert not caplog.records
