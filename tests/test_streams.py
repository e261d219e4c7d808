"""Batches that stream: any epoch from any batch on, and a policy that timm has not."""

from __future__ import annotations

import pytest
import torch

from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.data.batches import TrainingBatches
from hybridnas.tasks import TASKS

CPU = torch.device("cpu")
# Python 3.12 and later warn of any fork of a process with threads, and torch has some.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def training(policy: str | None = None, workers: int = 0) -> TrainingBatches:
    """Four batches of 120 digits."""
    told = Protocol(
        task=Task(train="val"),
        recipe=Recipe(batch_size=120, augmentation=Augmentation(auto_augment=policy)),
        fidelity=Fidelity(epochs=1, resolution=16),
    )
    return TASKS["classification"].loaders(told, CPU, workers).train


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=forks)])
def test_any_epoch_is_begun_at_any_batch(workers: int) -> None:
    train, other = training(), training(workers=workers)
    passes = [[images for images, _ in train] for _ in range(3)]
    for epoch, first in ((3, 1), (1, 2), (2, 0), (3, 0)):
        found = [images for images, _ in other.epoch(epoch, first)]
        assert len(found) == 4 - first
        assert all(map(torch.equal, found, passes[epoch - 1][first:]))


def test_trivial_augment_streams_too() -> None:
    (plain, labels), (changed, same_labels) = (next(iter(training(p))) for p in (None, "trivial"))
    assert changed.shape == plain.shape == (120, 3, 16, 16)
    assert torch.equal(labels, same_labels)
    differs = (changed - plain).abs().amax((1, 2, 3)) > 0.1
    assert 0.5 < differs.float().mean() < 1  # some images keep their looks: identity is a choice
