"""Batches dealt out to processes, and passes that begin where another stopped."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from hybridnas.config import Fidelity, Protocol, Recipe, Task
from hybridnas.data.batches import TrainingBatches
from hybridnas.processes import ALONE, Share
from hybridnas.tasks import TASKS, Loaders

CPU = torch.device("cpu")
RECIPE = {"batch_size": 256, "augmentation": {"hflip": 0.0, "scale": [1, 1], "ratio": [1, 1]}}


def loaders(share: Share = ALONE, **recipe: Any) -> Loaders:
    """Of the digits: 1000 images to train on, 3 full batches of 256."""
    protocol = Protocol(
        task=Task(),
        recipe=Recipe.model_validate({**RECIPE, **recipe}),
        fidelity=Fidelity(epochs=1, resolution=32),
        seed=3,
    )
    return TASKS["classification"].loaders(protocol, CPU, 0, share)


def taken(loader: TrainingBatches, passes: int = 1) -> list[Tensor]:
    """The images of every batch, pass after pass."""
    return [images for _ in range(passes) for images, _ in loader]


@pytest.mark.parametrize("augmented", [False, True])
def test_the_rest_of_an_epoch_is_what_followed_in_a_whole_pass(augmented: bool) -> None:
    recipe: dict[str, Any] = (
        {"augmentation": {"scale": [0.3, 1], "auto_augment": "rand-m9"}} if augmented else {}
    )
    whole = taken(loaders(**recipe).train, passes=3)
    other = loaders(**recipe).train
    rest = [images for images, _ in other.epoch(2, 2)] + taken(other)
    assert len(rest) == 4
    assert all(map(torch.equal, rest, whole[5:]))


def test_processes_train_on_their_parts_of_the_same_batches() -> None:
    whole = taken(loaders().train, passes=2)
    parts = [taken(loaders(Share(rank, 2)).train, passes=2) for rank in range(2)]
    together = [torch.cat(halves) for halves in zip(*parts, strict=True)]
    assert len(together) == 6
    assert all(map(torch.equal, together, whole))


def test_processes_score_each_image_once() -> None:
    whole = taken(loaders().val)  # type: ignore[arg-type]
    parts = [taken(loaders(Share(rank, 3)).val) for rank in range(3)]  # type: ignore[arg-type]
    scored = [image for part in parts for batch in part for image in batch]
    images = [image for batch in whole for image in batch]
    assert len(scored) == len(images)
    assert all(any(torch.equal(image, other) for other in scored) for image in images)


def test_each_process_takes_as_many_steps() -> None:
    batches = {len(loaders(Share(rank, 4), batch_size=80).train) for rank in range(4)}
    assert batches == {12}  # 50 batches of 20, of which 48 can be dealt out
