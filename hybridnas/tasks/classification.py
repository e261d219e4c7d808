"""Image classification: augmentation, loss and score."""

from __future__ import annotations

from collections.abc import Callable

import torch
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import Compose, TrivialAugmentWide

from ..architecture import Architecture
from ..config import Augmentation, Protocol, Recipe, Task
from ..counting import square
from ..data import (
    MEAN,
    STD,
    ImageLoader,
    Split,
    class_names,
    data_digest,
    open_split,
    open_splits,
)
from ..data.augment.policy import TRIVIAL
from ..data.batches import Batches, TrainingBatches
from ..data.loader import Transform
from ..errors import ConfigError
from ..network import HybridNet
from ..processes import ALONE, Share, gathered, scoring_batch_size, summed
from .base import Loaders, Loss, Score, VisionTask
from .batch_size import training_batch_size
from .exact import exact_float32
from .finishing import Finish, mixes
from .forward import Forward
from .listing import all_there, listed
from .posterize import allow_no_bits
from .resident_data import resident_scoring, resident_training

# Of validation images; training draws one of timm's for each image.
INTERPOLATION = "bicubic"


def classification_loaders(
    protocol: Protocol, device: torch.device, loader_workers: int, share: Share = ALONE
) -> Loaders:
    """The images of a protocol's task; its training targets are mixed where the recipe says so.

    On one CUDA device they are kept decoded where they fit in memory, else, and on the CPU, they
    stream: there timm's transforms take less time than those of whole batches
    (scripts/bench_augment.py), and an outcome, which is the same to the bit, must not depend on how
    much memory was free.
    """
    train, val = listed(protocol, open_splits)
    train = train.part(protocol.fidelity.share)
    return Loaders(
        train=_training_batches(train, protocol, device, loader_workers, share),
        val=_scoring_batches(val, protocol, device, loader_workers, share),
        num_classes=len(train.class_names),
    )


def _training_batches(
    split: Split, protocol: Protocol, device: torch.device, loader_workers: int, share: Share
) -> TrainingBatches:
    recipe = protocol.recipe
    batch_size = training_batch_size(recipe, len(split), share)
    if device.type == "cuda" and share == ALONE:
        kept = resident_training(split, protocol, batch_size, device)
        if kept is not None:
            return kept
    return ImageLoader(
        split,
        _training_transform(recipe.augmentation, protocol.fidelity.resolution),
        batch_size=batch_size,
        shuffle=True,
        seed=protocol.seed,
        max_corrupt=protocol.task.max_corrupt,
        device=device,
        loader_workers=loader_workers,
        finish=Finish(recipe, len(split.class_names), device),
        share=share,
    )


def _scoring_batches(
    split: Split, protocol: Protocol, device: torch.device, loader_workers: int, share: Share
) -> Batches:
    if device.type == "cuda" and share == ALONE:
        kept = resident_scoring(split, protocol, INTERPOLATION, device)
        if kept is not None:
            return kept
    return _scoring_loader(
        split,
        protocol.task,
        protocol.fidelity.resolution,
        protocol.recipe.crop_pct,
        scoring_batch_size(protocol.recipe.batch_size, len(split), share),
        device,
        loader_workers,
        share,
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


def classification_network(
    architecture: Architecture, num_classes: int, protocol: Protocol
) -> nn.Module:
    """The network with its own head."""
    return HybridNet(
        architecture, num_classes=num_classes, drop_path_rate=protocol.recipe.drop_path
    )


def classification_loss(recipe: Recipe) -> Loss:
    """Cross-entropy with labels (B,) or, where the recipe mixes images, shares (B, classes)."""
    # Mixed targets come smoothed already.
    smoothing = 0.0 if mixes(recipe.augmentation) else recipe.label_smoothing

    def loss(model: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(images), targets, label_smoothing=smoothing)

    return loss


@torch.inference_mode()
def score(model: nn.Module, loader: Batches, device: torch.device) -> Score:
    """Counts the right answers of a float32 model, which must be on `device` already.

    top1, top5: shares of the images that could be read; with fewer than five classes all are
    among the top five. top1_se: standard error of top1, sqrt(p (1 - p) / n). loss: mean
    cross-entropy in nats.

    Everything runs in full float32 whatever is set around it, so that a search and the scoring of
    the model that it exported agree to the last image on the same kind of device.
    """
    was_training = model.training
    model.eval()
    # Right among the first 1, among the first 5; of how many; their losses.
    totals = torch.zeros(4, dtype=torch.float64, device=device)
    forward = Forward(model, device, len(loader))
    with exact_float32(device):
        for images, labels in loader:
            logits = forward(images)  # (B, classes)
            likely = logits.topk(min(5, logits.shape[1])).indices
            hits = likely == labels.unsqueeze(1)
            totals[:2] += torch.stack([hits[:, 0].sum(), hits.sum()])
            totals[2] += len(labels)
            totals[3] += F.cross_entropy(logits, labels, reduction="sum")
    model.train(was_training)
    first, fifth, num_images, loss = summed(totals).tolist()
    top1, top5 = first / num_images, fifth / num_images
    return Score(
        metrics={
            "top1": top1,
            "top5": top5,
            "top1_se": (top1 * (1 - top1) / num_images) ** 0.5,
            "loss": loss / num_images,
        },
        num_images=int(num_images),
        num_corrupt=sum(gathered(len(loader.unreadable))),
        batch_size=loader.batch_size,
        device_type=device.type,
    )


def _check(recipe: Recipe) -> None:
    _training_transform(recipe.augmentation, 32)


def _as_scored(protocol: Protocol, device: torch.device) -> ImageLoader:
    return validation_loader(
        protocol.task,
        resolution=protocol.fidelity.resolution,
        crop_pct=protocol.recipe.crop_pct,
        batch_size=protocol.recipe.batch_size,
        device=device,
    )


def _training_images(split: Split, share: float) -> int:
    return split.size_of_part(share)


CLASSIFICATION = VisionTask(
    check=_check,
    class_names=class_names,
    splits=all_there(open_splits),
    data_digest=data_digest,
    training_images=_training_images,
    loaders=classification_loaders,
    scoring_loader=_as_scored,
    training_size=square,
    network=classification_network,
    loss=classification_loss,
    score=score,
)


def _training_transform(augmentation: Augmentation, resolution: int) -> Transform:
    policy = augmentation.auto_augment
    try:
        # timm's three parts: crop and flip; policy or jitter; bytes.
        first, second, last = create_transform(
            resolution,
            is_training=True,
            separate=True,
            scale=augmentation.scale,
            ratio=augmentation.ratio,
            hflip=augmentation.hflip,
            color_jitter=augmentation.color_jitter,  # type: ignore[arg-type] # None: none
            auto_augment=None if policy == TRIVIAL else policy,
            interpolation="random",
            mean=MEAN,
            std=STD,
            use_prefetcher=True,  # bytes, not floats; erasing is left to the device
        )
    except (AssertionError, ValueError, KeyError) as error:
        raise ConfigError(
            f"recipe.augmentation: timm takes no auto_augment {policy!r} ({error}); "
            f"allowed are {TRIVIAL!r} and what it takes, such as 'rand-m9-mstd0.5-mmax9-inc1'"
        ) from error
    allow_no_bits(first)
    allow_no_bits(second)
    # A policy takes the place of jitter, as in timm.
    middle = TrivialAugmentWide() if policy == TRIVIAL else second
    return _of_image(Compose([first, middle, last]))


def _of_image(transform: Callable[[Image.Image], Tensor]) -> Transform:
    """timm's transform, which gives a (3, R, R) uint8 tensor, beside a label."""
    return lambda image, label: (transform(image), torch.tensor(label))


def _scoring_loader(
    split: Split,
    task: Task,
    resolution: int,
    crop_pct: float,
    batch_size: int,
    device: torch.device,
    loader_workers: int,
    share: Share = ALONE,
) -> ImageLoader:
    transform = create_transform(
        resolution, crop_pct=crop_pct, interpolation=INTERPOLATION, use_prefetcher=True
    )
    return ImageLoader(
        split,
        _of_image(transform),
        batch_size=batch_size,
        shuffle=False,
        seed=0,
        max_corrupt=task.max_corrupt,
        device=device,
        loader_workers=loader_workers,
        share=share,
    )
