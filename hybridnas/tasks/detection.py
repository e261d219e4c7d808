"""Object detection and instance segmentation: Mask R-CNN on COCO's format."""

from __future__ import annotations

from typing import Any

import torch
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from ..architecture import Architecture
from ..config import Protocol, Recipe
from ..data.coco import open_coco_splits
from ..data.coco_loader import CocoLoader
from ..data.detection_views import SHORTER, TrainingView, longest_side
from ..heads import Detector, mask_rcnn
from ..network import HybridNet
from ..processes import ALONE, Share
from .base import Loaders, Loss, VisionTask
from .detection_score import score

_ANCHOR = 32.0  # pixels, at images of 800


def detection_loaders(
    protocol: Protocol,
    device: torch.device,
    loader_workers: int,
    share: Share = ALONE,
    *,
    multi_scale: bool = False,
) -> Loaders:
    """The images of a protocol's task: task.train and task.val name splits as `open_coco` does.

    fidelity.resolution: the shorter side in pixels, 800 in published recipes. recipe.batch_size:
    of all processes. multi_scale: as the 3x schedules (TrainingView).
    """
    task, recipe = protocol.task, protocol.recipe
    train, val = open_coco_splits(task.data, task.train, task.val)
    view = TrainingView(
        protocol.fidelity.resolution, hflip=recipe.augmentation.hflip, multi_scale=multi_scale
    )
    shared: dict[str, Any] = {
        "batch_size": max(1, recipe.batch_size // share.num_ranks),
        "seed": protocol.seed,
        "max_corrupt": task.max_corrupt,
        "device": device,
        "loader_workers": loader_workers,
        "share": share,
    }
    return Loaders(
        train=CocoLoader(train, view, **shared),
        val=CocoLoader(val, None, **shared),
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


DETECTION = VisionTask(detection_loaders, detection_network, detection_loss, score)
