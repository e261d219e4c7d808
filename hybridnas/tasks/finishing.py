"""What is done to a whole training batch of classification on its device: erasing, mixing."""

from __future__ import annotations

from typing import Any

import torch
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from ..config import Augmentation, Recipe


def mixes(augmentation: Augmentation) -> bool:
    return augmentation.mixup > 0 or augmentation.cutmix > 0


class Finish:
    """Erases and mixes a training batch on its device, as the recipe says."""

    def __init__(self, recipe: Recipe, num_classes: int, device: torch.device) -> None:
        augmentation = recipe.augmentation
        self._erase: Any = None
        self._mix: Any = None
        if augmentation.reprob > 0:
            self._erase = RandomErasing(augmentation.reprob, mode="pixel", device=str(device))
        if mixes(augmentation):
            self._mix = Mixup(
                augmentation.mixup,
                augmentation.cutmix,
                label_smoothing=recipe.label_smoothing,
                num_classes=num_classes,
            )

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._erase is not None:
            images = self._erase(images)
        if self._mix is not None:
            images, labels = self._mix(images, labels)
        return images, labels
