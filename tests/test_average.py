"""The moving average of weights: what it is, and that it is what is scored."""

from __future__ import annotations

import copy

import torch
from torch import nn

from hybridnas.architecture import Architecture
from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.evaluate import evaluate
from hybridnas.tasks.classification import classification_loss
from hybridnas.train import Stepper

CPU = torch.device("cpu")
BLOCK = {"form": "gated", "mixer": "gated_conv"}
NET = Architecture.from_dict({"stages": [{"width": 16, "blocks": [BLOCK]}]})


def recipe(ema_decay: float | None) -> Recipe:
    whole = Augmentation(hflip=0.0, scale=(0.7, 1.0))
    return Recipe(batch_size=50, lr=1e-2, ema_decay=ema_decay, augmentation=whole)


def test_it_follows_the_weights_of_every_step() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    told = recipe(0.9)
    stepper = Stepper(model, classification_loss(told), told, CPU, num_steps=9, steps_per_epoch=9)
    assert stepper.average is not None
    assert stepper.trained is stepper.average.module
    want = copy.deepcopy(model.state_dict())
    for _ in range(9):
        stepper.step(torch.randn(6, 3, 2, 2), torch.arange(6) % 3)
        for name, value in model.state_dict().items():
            floats = value.is_floating_point()
            want[name] = 0.9 * want[name] + 0.1 * value if floats else value.clone()
    for name, value in stepper.average.module.state_dict().items():
        torch.testing.assert_close(value, want[name])


def test_it_is_what_is_scored() -> None:
    plain, averaged, idle = (
        evaluate(
            NET,
            Protocol(task=Task(), recipe=recipe(decay), fidelity=Fidelity(epochs=2, resolution=16)),
            device="cpu",
        )
        for decay in (None, 0.9, 0.999999)
    )
    assert [r["loss"] for r in plain.curve] == [r["loss"] for r in averaged.curve]
    assert plain.state_dict is not None
    assert averaged.state_dict is not None
    weight = "head.fc.weight"
    assert plain.state_dict.keys() == averaged.state_dict.keys()
    assert not torch.equal(plain.state_dict[weight], averaged.state_dict[weight])
    assert averaged.metrics["top1"] > 0.4
    assert idle.metrics["top1"] < 0.3  # still where it began
