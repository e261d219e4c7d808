"""Semantic segmentation: loaders, UperNet, loss and score."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..architecture import Architecture
from ..config import Protocol, Recipe, Task
from ..counting import square
from ..data import ImageLoader, masks
from ..data.batches import Batches, TrainingBatches
from ..data.mask_transforms import scoring_pair, training_pair
from ..data.masks import IGNORED
from ..errors import ConfigError, DataError
from ..heads import UPerNet
from ..network import HybridNet
from ..processes import ALONE, Share, gathered, scoring_batch_size
from .base import Loaders, Loss, Score, VisionTask
from .batch_size import training_batch_size
from .confusion import Confusion, segmentation_metrics
from .dense import check_dense_recipe
from .exact import exact_float32
from .inference import WHOLE, Inference, class_scores
from .listing import all_there, listed
from .resident_data import resident_pairs

_AUXILIARY_WEIGHT = 0.4
_SMALLEST = torch.finfo(torch.float32).tiny


def segmentation_loaders(
    protocol: Protocol, device: torch.device, loader_workers: int, share: Share = ALONE
) -> Loaders:
    """Crops of fidelity.resolution pixels to train on, whole images to score on.

    Targets are classes (B, H, W) in bytes, 255 where a pixel is ignored. On one CUDA device what is
    trained on is kept decoded where it fits in memory (classification_loaders says why there).
    """
    task, recipe, resolution = protocol.task, protocol.recipe, protocol.fidelity.resolution
    _check(recipe)
    train = listed(protocol, _training_split)
    batch_size = training_batch_size(recipe, len(train), share)
    if batch_size < 2:
        raise ConfigError(
            "segmentation needs batches of 2 images or more, because UperNet normalises over "
            f"them; got batch_size {recipe.batch_size} and {len(train)} images in {train.where}"
        )
    return Loaders(
        train=_training_batches(train, protocol, batch_size, device, loader_workers, share),
        val=validation_loader(
            task,
            resolution=resolution,
            batch_size=recipe.batch_size,
            device=device,
            loader_workers=loader_workers,
            share=share,
        ),
        num_classes=len(train.class_names),
    )


def _training_split(task: Task) -> masks.MaskSplit:
    return masks.open_split(task, task.train)


def _training_batches(
    split: masks.MaskSplit,
    protocol: Protocol,
    batch_size: int,
    device: torch.device,
    loader_workers: int,
    share: Share,
) -> TrainingBatches:
    if device.type == "cuda" and share == ALONE:
        kept = resident_pairs(split, protocol, batch_size, device)
        if kept is not None:
            return kept
    return ImageLoader(
        split,
        training_pair(protocol.fidelity.resolution, hflip=protocol.recipe.augmentation.hflip),
        batch_size=batch_size,
        shuffle=True,
        seed=protocol.seed,
        max_corrupt=protocol.task.max_corrupt,
        device=device,
        loader_workers=loader_workers,
        share=share,
    )


def validation_loader(
    task: Task,
    *,
    resolution: int,
    batch_size: int,
    device: torch.device,
    loader_workers: int = 0,
    split: str | None = None,
    share: Share = ALONE,
) -> ImageLoader:
    """What `score` reads: a split, by default the task's `val`, in order and not augmented.

    resolution: of an image's shorter side, where the longer one is not over four times that.
    Targets keep the size of their files. batch_size: of all processes.
    """
    opened = masks.open_split(task, task.val if split is None else split)
    return ImageLoader(
        opened,
        scoring_pair(resolution),
        batch_size=scoring_batch_size(batch_size, len(opened), share),
        shuffle=False,
        seed=0,
        max_corrupt=task.max_corrupt,
        device=device,
        loader_workers=loader_workers,
        share=share,
    )


def segmentation_network(
    architecture: Architecture, num_classes: int, protocol: Protocol
) -> nn.Module:
    """UperNet on the architecture's network."""
    backbone = HybridNet(architecture, num_classes=0, drop_path_rate=protocol.recipe.drop_path)
    width = protocol.task.head_width
    if width is None:
        return UPerNet(backbone, num_classes)
    return UPerNet(backbone, num_classes, width=width, aux_width=max(1, width // 2))


def segmentation_loss(recipe: Recipe) -> Loss:
    """Cross-entropy of the logits, and 0.4 times that of the auxiliary ones.

    The model gives two logits (B, K, H, W); targets are classes (B, H, W) in whole numbers.

    Averaged over all pixels: an ignored one counts 0, as in mmsegmentation, so a batch without
    any labelled pixel is no division by zero.
    """

    def mean(logits: Tensor, target: Tensor) -> Tensor:
        losses = F.cross_entropy(
            logits,
            target,
            ignore_index=IGNORED,
            reduction="none",
            label_smoothing=recipe.label_smoothing,
        )
        return losses.mean()

    def loss(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
        logits, auxiliary = model(images)
        target = classes.long()
        return mean(logits, target) + _AUXILIARY_WEIGHT * mean(auxiliary, target)

    return loss


@torch.inference_mode()
def score(
    model: nn.Module, loader: Batches, device: torch.device, inference: Inference = WHOLE
) -> Score:
    """miou, aacc and macc (confusion.segmentation_metrics) and loss of a float32 model on `device`.

    loss: mean cross-entropy, in nats, of the pixels that have a class. Counted at the size of the
    annotations, to which the scores of classes are stretched. In full float32 whatever is set
    around it. Raises DataError when no pixel has a class.
    """
    was_training = model.training
    model.eval()
    confusion: Confusion | None = None
    num_images = 0
    loss = torch.zeros((), dtype=torch.float64, device=device)
    with exact_float32(device):
        for images, truth in loader:
            height, width = truth.shape[1:]
            scores = class_scores(model, images, (height, width), inference)
            if confusion is None:
                confusion = Confusion(scores.shape[1], device)
            confusion.add(truth, scores.argmax(1))
            loss += _summed_loss(scores, truth, inference)
            num_images += len(images)
    model.train(was_training)
    # A process may have had no image; a loader gives one to some, or raises.
    parts = gathered(None if confusion is None else confusion.matrix())
    matrix = torch.stack([part for part in parts if part is not None]).sum(0)
    if not matrix.any():
        raise DataError(f"{loader.where}: every pixel of its annotations is ignored")
    return Score(
        metrics={
            **segmentation_metrics(matrix),
            "loss": sum(gathered(loss.item())) / matrix.sum().item(),
        },
        num_images=sum(gathered(num_images)),
        num_corrupt=sum(gathered(len(loader.unreadable))),
        batch_size=loader.batch_size,
        device_type=device.type,
    )


def _summed_loss(scores: Tensor, truth: Tensor, inference: Inference) -> Tensor:
    """Cross-entropy, a float64, summed over the pixels (B, H, W) that have a class of the scores'
    (B, K, H, W)."""
    classes = truth.long()
    classes = classes.masked_fill(classes >= scores.shape[1], IGNORED)
    total = torch.zeros((), dtype=torch.float64, device=scores.device)
    # Image by image: the logarithms take as much memory as the scores.
    for each, target in zip(scores.split(1), classes.split(1), strict=True):
        shares = inference.gives_shares
        log_shares = each.clamp_min(_SMALLEST).log() if shares else each.log_softmax(1)
        total += F.nll_loss(log_shares, target, ignore_index=IGNORED, reduction="sum")
    return total


def _check(recipe: Recipe) -> None:
    check_dense_recipe(recipe, "segmentation")


def _as_scored(protocol: Protocol, device: torch.device) -> ImageLoader:
    return validation_loader(
        protocol.task,
        resolution=protocol.fidelity.resolution,
        batch_size=protocol.recipe.batch_size,
        device=device,
    )


def _training_images(split: masks.MaskSplit, share: float) -> int:
    """share: always the whole."""
    return len(split)


SEGMENTATION = VisionTask(
    check=_check,
    class_names=masks.class_names,
    splits=all_there(masks.open_splits),
    data_digest=masks.data_digest,
    training_images=_training_images,
    loaders=segmentation_loaders,
    scoring_loader=_as_scored,
    training_size=square,
    network=segmentation_network,
    loss=segmentation_loss,
    score=score,
)
