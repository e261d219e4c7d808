"""What a task is to training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..architecture import Architecture
from ..config import Protocol, Recipe
from ..data import ImageLoader


@dataclass(frozen=True)
class Loaders:
    """A task's images: those to train on, augmented, and those to score on."""

    train: ImageLoader
    val: ImageLoader
    num_classes: int


@dataclass(frozen=True)
class Score:
    """What scoring found.

    metrics: by name, as the task's `score` describes them. num_images: that were scored.
    num_corrupt: images left out, because they could not be read.
    """

    metrics: dict[str, float]
    num_images: int
    num_corrupt: int
    batch_size: int
    device_type: str


@dataclass(frozen=True)
class VisionTask:
    """The functions of one task.

    loaders: of a protocol, for a device, with so many loader processes. Raises DataError.
    network: an architecture's, with the task's head for so many classes, on the CPU. Raises
        ConfigError for an architecture that the head cannot use.
    loss: of outputs and targets as the training loader gives them, for a recipe.
    score: of a model on a validation loader and a device, in float32.
    """

    loaders: Callable[[Protocol, torch.device, int], Loaders]
    network: Callable[[Architecture, int, Recipe], nn.Module]
    loss: Callable[[Recipe], nn.Module]
    score: Callable[[nn.Module, ImageLoader, torch.device], Score]
