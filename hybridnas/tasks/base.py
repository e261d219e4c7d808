"""What a task is to training and evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..architecture import Architecture
from ..config import Protocol as EvaluationProtocol
from ..config import Recipe, Task
from ..counting import Size
from ..data.batches import Batches, TrainingBatches
from ..processes import ALONE, Share


class Listed(Sized, Protocol):
    """A split, its files listed. class_names: in the order of a model's outputs."""

    @property
    def class_names(self) -> tuple[str, ...]: ...


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

    check: that a recipe asks for nothing that the task does not do. Raises ConfigError.
    class_names: of a task's data, in the order of a model's outputs. splits: what is trained on and
        what is scored on; no image is opened. data_digest: 12 hex digits of what these two hold.
        training_images: how many of the first are trained on, with such a share of each class. All
        raise DataError.
    loaders: of a protocol, for a device, with so many loader processes; share: of the processes
        that train one network, which divide every batch among them. Raises DataError.
    scoring_loader: of a protocol, for a device: the images of task.val alone, as `loaders` gives
        them.
    training_size: of an image (height, width) to train on at a resolution, the usual one where they
        differ.
    network: an architecture's, with the task's head for so many classes, for a protocol, on the
        CPU. Raises ConfigError for an architecture that the head cannot use.
    loss: of a recipe, called as loss(model, images, targets): it runs the model itself.
    score: of a model on a validation loader and a device, in float32; over the parts of all
        processes.
    """

    check: Callable[[Recipe], None]
    class_names: Callable[[Task], tuple[str, ...]]
    splits: Callable[[Task], tuple[Listed, Listed]]
    data_digest: Callable[[Any, Any], str]
    training_images: Callable[[Any, float], int]
    loaders: OpenLoaders
    scoring_loader: Callable[[EvaluationProtocol, torch.device], Batches]
    training_size: Callable[[int], Size]
    network: Callable[[Architecture, int, EvaluationProtocol], nn.Module]
    loss: Callable[[Recipe], Loss]
    score: Callable[[nn.Module, Any, torch.device], Score]
