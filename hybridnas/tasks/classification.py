"""Image classification: augmentation, loss and score."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.data.mixup import Mixup
from timm.data.random_erasing import RandomErasing
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn

from ..config import Augmentation, Protocol, Recipe, Task
from ..data import MEAN, STD, ImageLoader, Split, open_split, open_splits
from ..data.loader import Transform
from ..errors import ConfigError
from .base import Loaders, Score

# Of validation images; training draws one of timm's for each image.
INTERPOLATION = "bicubic"


def classification_loaders(
    protocol: Protocol, device: torch.device, loader_workers: int
) -> Loaders:
    """The images of a protocol's task; its training targets are mixed where the recipe says so."""
    task, recipe, resolution = protocol.task, protocol.recipe, protocol.fidelity.resolution
    train, val = open_splits(task)
    batch_size = min(recipe.batch_size, len(train))
    if _mixes(recipe.augmentation):
        batch_size = max(2, batch_size - batch_size % 2)  # images are mixed in pairs
    return Loaders(
        train=ImageLoader(
            train,
            _training_transform(recipe.augmentation, resolution),
            batch_size=batch_size,
            shuffle=True,
            seed=protocol.seed,
            max_corrupt=task.max_corrupt,
            device=device,
            loader_workers=loader_workers,
            finish=_Finish(recipe, len(train.class_names), device),
        ),
        val=_scoring_loader(
            val, task, resolution, recipe.crop_pct, recipe.batch_size, device, loader_workers
        ),
        num_classes=len(train.class_names),
    )


def validation_loader(
    task: Task,
    *,
    resolution: int,
    crop_pct: float,
    batch_size: int,
    device: torch.device,
    loader_workers: int = 0,
    split: str | None = None,
) -> ImageLoader:
    """What `score` reads: a split, by default the task's `val`, in order and not augmented.

    With the resolution, crop_pct and batch_size of an evaluation it gives the very same batches.
    """
    opened = open_split(task, task.val if split is None else split)
    return _scoring_loader(opened, task, resolution, crop_pct, batch_size, device, loader_workers)


def classification_loss(recipe: Recipe) -> nn.Module:
    """Cross-entropy with labels (B,) or, where the recipe mixes images, shares (B, classes)."""
    # Mixed targets come smoothed already.
    smoothing = 0.0 if _mixes(recipe.augmentation) else recipe.label_smoothing
    return nn.CrossEntropyLoss(label_smoothing=smoothing)


@torch.inference_mode()
def score(model: nn.Module, loader: ImageLoader, device: torch.device) -> Score:
    """Counts the right answers of a float32 model, which must be on `device` already.

    Everything runs in full float32 whatever is set around it, so that a search and the scoring of
    the model that it exported agree to the last image on the same kind of device.
    """
    was_training = model.training
    model.eval()
    correct = torch.zeros(2, dtype=torch.int64, device=device)  # among the first 1, the first 5
    num_images = 0
    with _exact_float32(device):
        for images, labels in loader:
            logits = model(images)  # (B, classes)
            first = logits.topk(min(5, logits.shape[1])).indices
            hits = first == labels.unsqueeze(1)
            correct += torch.stack([hits[:, 0].sum(), hits.sum()])
            num_images += len(labels)
    model.train(was_training)
    num_correct, num_correct_top5 = correct.tolist()
    return Score(
        num_images=num_images,
        num_correct=num_correct,
        num_correct_top5=num_correct_top5,
        num_corrupt=len(loader.unreadable),
        batch_size=loader.batch_size,
        device_type=device.type,
    )


class _Finish:
    """Erases and mixes a training batch on its device, as the recipe says."""

    def __init__(self, recipe: Recipe, num_classes: int, device: torch.device) -> None:
        augmentation = recipe.augmentation
        self._erase: Any = None
        self._mix: Any = None
        if augmentation.reprob > 0:
            self._erase = RandomErasing(augmentation.reprob, mode="pixel", device=str(device))
        if _mixes(augmentation):
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


def _mixes(augmentation: Augmentation) -> bool:
    return augmentation.mixup > 0 or augmentation.cutmix > 0


def _training_transform(augmentation: Augmentation, resolution: int) -> Transform:
    try:
        return create_transform(
            resolution,
            is_training=True,
            scale=augmentation.scale,
            ratio=augmentation.ratio,
            hflip=augmentation.hflip,
            color_jitter=augmentation.color_jitter,  # type: ignore[arg-type] # None: none
            auto_augment=augmentation.auto_augment,
            interpolation="random",
            mean=MEAN,
            std=STD,
            use_prefetcher=True,  # bytes, not floats; erasing is left to the device
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise ConfigError(
            f"recipe.augmentation: timm takes no auto_augment {augmentation.auto_augment!r} "
            f"({error}); one that it takes is 'rand-m9-mstd0.5-mmax9-inc1'"
        ) from error


def _scoring_loader(
    split: Split,
    task: Task,
    resolution: int,
    crop_pct: float,
    batch_size: int,
    device: torch.device,
    loader_workers: int,
) -> ImageLoader:
    transform = create_transform(
        resolution, crop_pct=crop_pct, interpolation=INTERPOLATION, use_prefetcher=True
    )
    return ImageLoader(
        split,
        transform,
        batch_size=batch_size,
        shuffle=False,
        seed=0,
        max_corrupt=task.max_corrupt,
        device=device,
        loader_workers=loader_workers,
    )


@contextmanager
def _exact_float32(device: torch.device) -> Iterator[None]:
    """No TF32, no autocast, no algorithms chosen by a stopwatch; all as before afterwards."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = (
        matmul.fp32_precision,
        cudnn.conv.fp32_precision,
        cudnn.benchmark,
        cudnn.deterministic,
    )
    matmul.fp32_precision, cudnn.conv.fp32_precision = "ieee", "ieee"
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        matmul.fp32_precision, cudnn.conv.fp32_precision = before[:2]
        cudnn.benchmark, cudnn.deterministic = before[2:]
