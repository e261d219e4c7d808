"""What a task is to training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..architecture import Architecture
from ..config import Protocol as EvaluationProtocol
from ..config import Recipe
from ..data.batches import Batches, TrainingBatches
from ..processes import ALONE, Share

# Runs a model that trains on images and targets as the task's training loader gives them; a scalar.
Loss = Callable[[nn.Module, Any, Any], Tensor]


@dataclass(frozen=True)
class Loaders:
    """A task's images: those to train on, augmented, and those to score on.

    num_classes: of detection without the background.
    """

    train: TrainingBatches
    val: Batches
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


class OpenLoaders(Protocol):
    def __call__(
        self,
        protocol: EvaluationProtocol,
        device: torch.device,
        loader_workers: int,
        share: Share = ALONE,
    ) -> Loaders: ...


@dataclass(frozen=True)
class VisionTask:
    """The functions of one task.

    loaders: of a protocol, for a device, with so many loader processes; share: of the processes
        that train one network, which divide every batch among them. Raises DataError.
    network: an architecture's, with the task's head for so many classes, for a protocol, on the
        CPU. Raises ConfigError for an architecture that the head cannot use.
    loss: of a recipe, called as loss(model, images, targets): it runs the model itself.
    score: of a model on a validation loader and a device, in float32; over the parts of all
        processes.
    """

    loaders: OpenLoaders
    network: Callable[[Architecture, int, EvaluationProtocol], nn.Module]
    loss: Callable[[Recipe], Loss]
    score: Callable[[nn.Module, Any, torch.device], Score]
