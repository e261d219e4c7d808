"""What a task is to training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

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
    """What scoring counted.

    top1, top5: shares of the num_images that could be read; with fewer than five classes all are
        among the top five. top1_se: standard error of top1, sqrt(p (1 - p) / n).
    num_corrupt: images left out, because they could not be read.
    """

    num_images: int
    num_correct: int
    num_correct_top5: int
    num_corrupt: int
    batch_size: int
    device_type: str

    @property
    def top1(self) -> float:
        return self.num_correct / self.num_images

    @property
    def top5(self) -> float:
        return self.num_correct_top5 / self.num_images

    @property
    def top1_se(self) -> float:
        return float((self.top1 * (1 - self.top1) / self.num_images) ** 0.5)


@dataclass(frozen=True)
class VisionTask:
    """The functions of one task.

    loaders: of a protocol, for a device, with so many loader processes. Raises DataError.
    loss: of outputs and targets as the training loader gives them, for a recipe.
    score: of a model on a validation loader and a device, in float32.
    """

    loaders: Callable[[Protocol, torch.device, int], Loaders]
    loss: Callable[[Recipe], nn.Module]
    score: Callable[[nn.Module, ImageLoader, torch.device], Score]
