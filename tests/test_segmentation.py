"""The task: scores and loss against definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as peers
from mask_sets import real_set, task, write_set
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe
from hybridnas.data import masks
from hybridnas.errors import ConfigError, DataError
from hybridnas.layers.blocks import Gated
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.tasks.confusion import Confusion, segmentation_metrics
from hybridnas.tasks.inference import Inference
from hybridnas.tasks.segmentation import (
    score,
    segmentation_loaders,
    segmentation_loss,
    validation_loader,
)

CPU = torch.device("cpu")
CONV = Block(Gated(), GatedConv())
SMALL = Architecture((Stage(16, (CONV,)), Stage(32, (CONV,))))


def protocol(root: Path, *, epochs: int = 1, resolution: int = 32, **recipe: Any) -> Protocol:
    given = {"batch_size": 4, "label_smoothing": 0.0, "warmup_epochs": 0.5, **recipe}
    return Protocol(
        task=task(root),
        recipe=Recipe.model_validate(given),
        fidelity=Fidelity(epochs=epochs, resolution=resolution),
        seed=0,
    )


# ---- metrics


def by_definition(
    truth: NDArray[np.integer], found: NDArray[np.integer], num: int
) -> dict[str, float]:
    """mmsegmentation's figures over all pixels of a set, from what the words say."""
    truth, found = truth[truth != 255], found[truth != 255]
    ious, accuracies = [], []
    for k in range(num):
        both, either = (truth == k) & (found == k), (truth == k) | (found == k)
        if either.any():
            ious.append(both.sum() / either.sum())
        if (truth == k).any():
            accuracies.append(both.sum() / (truth == k).sum())
    return {
        "miou": float(np.mean(ious)),
        "aacc": float((truth == found).mean()),
        "macc": float(np.mean(accuracies)),
    }


def counted(truth: Tensor, found: Tensor, num: int) -> Tensor:
    """The confusion matrix of a set of maps, one batch each."""
    confusion = Confusion(num, CPU)
    for one, other in zip(truth, found, strict=True):
        confusion.add(one, other)
    return confusion.matrix()


@pytest.mark.parametrize(("num", "present"), [(2, 2), (7, 7), (150, 40)])
def test_metrics_are_the_definition_and_torchmetrics(num: int, present: int) -> None:
    """With ignored pixels; of 150 classes 40 are there and 45 are predicted."""
    random = torch.Generator().manual_seed(num)
    truth = torch.randint(present, (4, 20, 30), generator=random).byte()
    noise = torch.randint(min(num, present + 5), truth.shape, generator=random)
    found = torch.where(torch.rand(truth.shape, generator=random) < 0.6, truth.long(), noise)
    truth[torch.rand(truth.shape, generator=random) < 0.1] = 255
    matrix = counted(truth, found, num)
    metrics = segmentation_metrics(matrix)
    assert metrics == pytest.approx(by_definition(truth.numpy(), found.numpy(), num), rel=1e-12)
    target = truth.long()
    theirs = peers.multiclass_confusion_matrix(found, target, num, ignore_index=255)
    assert torch.equal(matrix, theirs)
    jaccard = peers.multiclass_jaccard_index(found, target, num, ignore_index=255)
    assert metrics["miou"] == pytest.approx(jaccard.item(), rel=1e-5)
    micro = peers.multiclass_accuracy(found, target, num, average="micro", ignore_index=255)
    assert metrics["aacc"] == pytest.approx(micro.item(), rel=1e-5)
    each = peers.multiclass_accuracy(found, target, num, average=None, ignore_index=255)
    assert metrics["macc"] == pytest.approx(each[:present].mean().item(), rel=1e-5)


def test_classes_that_are_nowhere_are_left_out() -> None:
    matrix = torch.tensor([[3, 1, 0, 0], [0, 4, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    metrics = segmentation_metrics(matrix)
    # The third class is only predicted: its IoU is 0, and it has no accuracy.
    assert metrics["miou"] == pytest.approx((3 / 4 + 4 / 7 + 0) / 3)
    assert metrics["macc"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert metrics["aacc"] == pytest.approx(7 / 10)


class MadeUp(nn.Module):
    """Logits for the images of a split, in order, whatever is in them."""

    def __init__(self, predictions: list[NDArray[np.int_]], num_classes: int) -> None:
        super().__init__()
        self.predictions, self.num_classes = predictions, num_classes
        self.at = 0

    def forward(self, images: Tensor) -> Tensor:
        batch = np.stack(self.predictions[self.at : self.at + len(images)])
        self.at += len(images)
        return F.one_hot(torch.from_numpy(batch), self.num_classes).permute(0, 3, 1, 2).float()


def test_ade20k_is_scored_as_defined(tmp_path: Path) -> None:
    ade = task(real_set("fixture_ade20k3", tmp_path), train="validation")
    split, random = masks.open_split(ade, "validation"), np.random.default_rng(0)
    truth = [split.sample(index)[1] for index in range(3)]
    found = []
    for classes in truth:
        right = random.random(classes.shape) < 0.5
        wrong = random.integers(0, 150, classes.shape)
        found.append(np.where(right & (classes != 255), classes, wrong))
    loader = validation_loader(ade, resolution=512, batch_size=2, device=CPU)
    result = score(MadeUp(found, 150), loader, CPU)
    all_truth, all_found = (np.concatenate([x.ravel() for x in maps]) for maps in (truth, found))
    known = by_definition(all_truth, all_found, 150)
    # Of logits 1 for the predicted class and 0 for the others.
    loss = np.log(np.e + 149) - known["aacc"]
    metrics = dict(result.metrics)
    assert metrics.pop("loss") == pytest.approx(loss, rel=1e-6)
    assert metrics == pytest.approx(known, rel=1e-9)
    assert (result.num_images, result.num_corrupt, result.device_type) == (3, 0, "cpu")


def test_scores_are_counted_at_the_size_of_the_annotations(tmp_path: Path) -> None:
    shapes_task = task(write_set(tmp_path / "set", size=(32, 48)))

    class Reds(nn.Module):
        """Redder than blue: class 1."""

        def forward(self, images: Tensor) -> Tensor:
            assert not self.training
            assert images.shape == (4, 3, 16, 24)
            return torch.stack([images[:, 2], images[:, 0], images[:, 1] - 9], 1)

    model = Reds()
    loader = validation_loader(shapes_task, resolution=16, batch_size=4, device=CPU)
    result = score(model, loader, CPU)
    assert model.training
    split = masks.open_split(shapes_task, "validation")
    logits = model.eval()(torch.cat([images for images, _ in loader]))
    stretched = F.interpolate(logits, (32, 48), mode="bilinear")
    found, shares = stretched.argmax(1).numpy(), stretched.softmax(1).numpy()
    truth = np.stack([split.sample(index)[1] for index in range(4)])
    metrics = dict(result.metrics)
    assert metrics.pop("loss") == pytest.approx(mean_loss(shares, truth), rel=1e-5)
    assert metrics == pytest.approx(by_definition(truth, found, 3))
    assert result.num_images == 4
    # Of several versions the mean of their shares; a colour is the same in a mirror.
    mirrored = score(model, loader, CPU, Inference(flip=True))
    assert mirrored.metrics == pytest.approx(result.metrics, rel=1e-5)


def mean_loss(shares: NDArray[np.floating], truth: NDArray[np.integer]) -> float:
    """Cross-entropy of shares (B, K, H, W) over the pixels (B, H, W) that are not ignored."""
    of_class = np.moveaxis(shares, 1, -1)[truth != 255]  # (pixels, K)
    return float(-np.log(of_class[np.arange(len(of_class)), truth[truth != 255]]).mean())


def test_a_set_without_labels_has_no_score(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set")
    for path in (root / "annotations" / "validation").iterdir():
        Image.new("L", (48, 32)).save(path)
    loader = validation_loader(task(root), resolution=32, batch_size=2, device=CPU)
    with pytest.raises(DataError, match=r"images/validation: every pixel .* is ignored"):
        score(nn.Conv2d(3, 3, 1), loader, CPU)


# ---- loss


class Given(nn.Module):
    """Answers the same to whatever it is asked."""

    def __init__(self, outputs: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.outputs


def test_loss_is_cross_entropy_over_all_pixels() -> None:
    torch.manual_seed(0)
    logits, auxiliary = torch.randn(2, 5, 6, 7), torch.randn(2, 5, 6, 7)
    classes = torch.randint(0, 5, (2, 6, 7)).byte()
    classes[0, :2] = 255
    labelled = classes != 255

    def mean(x: Tensor) -> Tensor:
        picked = x.log_softmax(1).gather(1, classes.long().clamp(max=4)[:, None])[:, 0]
        return -(picked * labelled).sum() / classes.numel()

    loss = segmentation_loss(Recipe(label_smoothing=0.0))
    model, images = Given((logits, auxiliary)), torch.zeros(2, 3, 6, 7)
    torch.testing.assert_close(loss(model, images, classes), mean(logits) + 0.4 * mean(auxiliary))
    nothing = torch.full_like(classes, 255)
    assert loss(model, images, nothing) == 0


# ---- loaders


def test_loaders_give_crops_and_whole_images(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", size=(30, 48))
    loaders = segmentation_loaders(protocol(root, resolution=20), CPU, 0)
    assert loaders.num_classes == 3
    images, classes = next(iter(loaders.train))
    assert images.shape == (4, 3, 20, 20)
    assert classes.shape == (4, 20, 20)
    images, classes = next(iter(loaders.val))
    assert images.shape == (4, 3, 20, 32)
    assert classes.shape == (4, 30, 48)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"augmentation": Augmentation(mixup=0.8, scale=(0.5, 1), hflip=0)},
            r"recipe\.augmentation: segmentation takes hflip only, got scale, mixup",
        ),
        ({"crop_pct": 0.9}, r"recipe\.crop_pct: .* only 1 is allowed, got 0\.9"),
        ({"batch_size": 1}, r"batches of 2 images or more, .* got batch_size 1 and 6 images in"),
    ],
)
def test_what_segmentation_does_not_take_is_refused(
    tmp_path: Path, recipe: dict[str, Any], message: str
) -> None:
    root = write_set(tmp_path / "set")
    with pytest.raises(ConfigError, match=message):
        segmentation_loaders(protocol(root, **recipe), CPU, 0)
