"""Object detection and instance segmentation: Mask R-CNN on COCO's format."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from ..architecture import Architecture
from ..config import Protocol, Recipe, Task
from ..cost import input_size
from ..data.coco import CocoSplit, coco_digest, open_coco, open_coco_splits
from ..data.coco_loader import CocoLoader
from ..data.detection_views import SHORTER, TrainingView, longest_side
from ..errors import ConfigError
from ..heads import Detector, mask_rcnn
from ..network import HybridNet
from ..processes import ALONE, Share, scoring_batch_size
from .base import Loaders, Loss, VisionTask
from .dense import check_dense_recipe
from .detection_score import score
from .listing import all_there

_ANCHOR = 32.0  # pixels, at images of 800


def detection_loaders(
    protocol: Protocol,
    device: torch.device,
    loader_workers: int,
    share: Share = ALONE,
) -> Loaders:
    """The images of a protocol's task: task.train and task.val name splits as `open_coco` does.

    fidelity.resolution: the shorter side in pixels, 800 in published recipes. recipe.batch_size:
    of all processes.
    """
    task, recipe = protocol.task, protocol.recipe
    _check(recipe)
    train, val = open_coco_splits(task.data, task.train, task.val)
    view = TrainingView(protocol.fidelity.resolution, hflip=recipe.augmentation.hflip)
    shared: dict[str, Any] = {
        "seed": protocol.seed,
        "max_corrupt": task.max_corrupt,
        "device": device,
        "loader_workers": loader_workers,
        "share": share,
    }
    return Loaders(
        train=CocoLoader(
            train, view, batch_size=max(1, recipe.batch_size // share.num_ranks), **shared
        ),
        val=CocoLoader(
            val,
            None,
            batch_size=scoring_batch_size(recipe.batch_size, len(val), share),
            **shared,
        ),
        num_classes=len(train.class_names),
    )


def detection_network(architecture: Architecture, num_classes: int, protocol: Protocol) -> Detector:
    """Mask R-CNN on an architecture's stages, for images of the protocol's resolution.

    Anchors shrink with the images, so that they fit the same objects at every resolution. Raises
    ConfigError for an architecture of one stage: it has no pyramid of maps.
    """
    backbone = HybridNet(architecture, num_classes=0, drop_path_rate=protocol.recipe.drop_path)
    features = FeatureGetterNet(backbone, out_indices=len(architecture.stages))
    resolution = protocol.fidelity.resolution
    return mask_rcnn(
        features,
        num_classes,
        shorter=resolution,
        longer=longest_side(resolution),
        anchor=_ANCHOR * resolution / SHORTER,
        width=protocol.task.head_width or 256,
    )


def detection_loss(recipe: Recipe) -> Loss:
    """The sum of torchvision's five losses: class, box and mask of regions, and of proposals
    whether there is an object and where. No recipe changes it."""
    return _sum_of_losses


def _sum_of_losses(
    model: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]
) -> Tensor:
    losses: dict[str, Tensor] = model(images, targets)
    return torch.stack([value.float() for value in losses.values()]).sum()


def _check(recipe: Recipe) -> None:
    check_dense_recipe(recipe, "detection")
    if recipe.label_smoothing:
        raise ConfigError(
            "recipe.label_smoothing: Mask R-CNN's losses know none, so only 0 is allowed, got "
            f"{recipe.label_smoothing:g}"
        )


def _class_names(task: Task) -> tuple[str, ...]:
    return open_coco(task.data, task.train).class_names


def _splits(task: Task) -> tuple[CocoSplit, CocoSplit]:
    return open_coco_splits(task.data, task.train, task.val)


def _as_scored(protocol: Protocol, device: torch.device) -> CocoLoader:
    return CocoLoader(
        open_coco(protocol.task.data, protocol.task.val),
        None,
        batch_size=protocol.recipe.batch_size,
        max_corrupt=protocol.task.max_corrupt,
        device=device,
        loader_workers=0,
    )


def _training_images(split: CocoSplit, share: float) -> int:
    """share: always the whole."""
    return len(split.with_objects())


DETECTION = VisionTask(
    check=_check,
    class_names=_class_names,
    splits=all_there(_splits),
    data_digest=coco_digest,
    training_images=_training_images,
    loaders=detection_loaders,
    scoring_loader=_as_scored,
    training_size=partial(input_size, "detection"),
    network=detection_network,
    loss=detection_loss,
    score=score,
)
