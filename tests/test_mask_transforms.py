"""What training does to an image and its classes, against what it should have done."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mask_sets import shapes, task, write_set
from numpy.typing import NDArray
from pair_helpers import one_distorted
from PIL import Image
from torch import Tensor

from hybridnas.data import ImageLoader, masks
from hybridnas.data.mask_transforms import (
    fitted_size,
    photometric_distortion,
    scoring_pair,
    training_pair,
)

forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
MEAN = [124, 116, 104]  # of ImageNet, in bytes


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def coded(classes: NDArray[np.uint8]) -> Image.Image:
    """An image that shows its classes: 100 times each in red."""
    return Image.fromarray(np.stack([classes * 100, classes * 0, classes * 0], -1))


def quarters(height: int, width: int) -> NDArray[np.uint8]:
    """Classes 0 and 1 above, 1 and 2 below."""
    y, x = np.mgrid[:height, :width]
    return (y >= height // 2).astype(np.uint8) + (x >= width // 2).astype(np.uint8)


@pytest.mark.parametrize(
    ("size", "side", "want"),
    [
        ((512, 683), 512, (512, 683)),
        ((480, 360), 720, (960, 720)),
        ((100, 1000), 100, (40, 400)),  # a panorama fits into 400 x 100
        ((1000, 10), 2, (8, 1)),
    ],
)
def test_size_keeps_proportions(size: tuple[int, int], side: float, want: tuple[int, int]) -> None:
    assert fitted_size(*size, side) == want


def test_image_and_classes_stay_together() -> None:
    transform = training_pair(48, distort=False)
    classes = quarters(60, 90)
    shares = []
    for _ in range(40):
        image, mask = transform(coded(classes), classes)
        assert image.shape == (3, 48, 48)
        assert mask.shape == (48, 48)
        assert image.dtype == mask.dtype == torch.uint8
        inside = mask != 255
        padding = torch.tensor(MEAN, dtype=torch.uint8)[:, None]
        assert (image[:, ~inside] == padding).all()
        shown = (image[0][inside] / 100).round()
        shares.append((shown == mask[inside]).float().mean())
    assert min(shares) > 0.93  # but for the borders, where the image is a mixture


def test_small_images_are_padded_on_the_right_and_below() -> None:
    classes = quarters(60, 90)
    image, mask = training_pair(48, scale=(0.5, 0.5), hflip=0, distort=False)(
        coded(classes), classes
    )
    rows, columns = (mask != 255).nonzero(as_tuple=True)
    assert [rows.max().item(), columns.max().item()] == [
        23,
        35,
    ]  # of 24 x 36
    assert (mask[:24, :36] != 255).all()
    assert image[:, 24:].flatten(1).unique(dim=1).flatten().tolist() == MEAN


def test_factors_fill_their_range() -> None:
    """Of a border between two classes in the middle, the place tells the factor."""
    classes = quarters(32, 32)
    transform = training_pair(32, scale=(0.5, 1.0), hflip=0, distort=False)
    sides = [int((transform(coded(classes), classes)[1] != 255).sum()) ** 0.5 for _ in range(200)]
    assert min(sides) in (16, 17)
    assert max(sides) in (31, 32)
    assert abs(np.mean(sides) - 24) < 1


def test_half_of_the_images_are_mirrored() -> None:
    classes = np.tile(np.repeat(np.array([0, 1], np.uint8), 16), (32, 1))
    transform = training_pair(32, scale=(1, 1), distort=False)
    lefts = [transform(coded(classes), classes)[1][0, 0].item() for _ in range(200)]
    assert abs(np.mean(lefts) - 0.5) < 0.1
    for hflip, left in ((0.0, 0), (1.0, 1)):
        image, mask = training_pair(32, scale=(1, 1), hflip=hflip, distort=False)(
            coded(classes), classes
        )
        assert mask[0, 0] == left
        assert image[0, 0, 0] == 100 * left


@pytest.mark.parametrize(("most", "draws"), [(0.75, 10), (1.1, 1)])
def test_crops_of_one_class_are_drawn_again(most: float, draws: int) -> None:
    """A strip 32 high with 101 places for a crop. The right half of the last 16 columns is
    another class, so in those a crop has it in 25 % and more from the last 9 places on; label
    255 beside it does not count."""
    classes = np.zeros((32, 132), np.uint8)
    classes[:, 116:] = 1
    classes[:16] = masks.IGNORED
    transform = training_pair(32, scale=(1, 1), cat_max_ratio=most, hflip=0, distort=False)
    # One class has 75 % or more unless 9 columns of 32 or more are of the other one.
    good = [(transform(coded(classes), classes)[1] == 1).sum() > 0.25 * 16 * 32 for _ in range(400)]
    want = 1 - (1 - 8 / 101) ** draws
    assert abs(np.mean(good) - want) < 3.5 * (want * (1 - want) / 400) ** 0.5


def test_scoring_resizes_the_image_and_leaves_the_classes() -> None:
    image, classes = shapes(np.random.default_rng(0), 30, 45)
    pixels, mask = scoring_pair(60)(image, classes)
    assert pixels.shape == (3, 60, 90)
    assert np.array_equal(mask.numpy(), classes)
    same, _ = scoring_pair(30)(image, classes)
    assert np.array_equal(same.permute(1, 2, 0).numpy(), np.asarray(image))


# ---- distortion


IMAGE = torch.randint(0, 256, (3, 8, 9), generator=torch.Generator().manual_seed(1)).byte()
# In the order of their coins: brightness, whether contrast is late, contrast, saturation, hue.
EARLY = (False, False, True, False, False)
LATE = (False, True, False, False, True)


def test_brightness_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    found = one_distorted(monkeypatch, IMAGE, (True, True, False, False, False), [-20.0])
    assert torch.equal(found, (IMAGE.int() - 20).clamp(0, 255).byte())


@pytest.mark.parametrize("coins", [EARLY, LATE])
def test_contrast_multiplies(monkeypatch: pytest.MonkeyPatch, coins: tuple[bool, ...]) -> None:
    found = one_distorted(monkeypatch, IMAGE, coins, [1.5])
    assert (found - (IMAGE * 1.5).clamp(0, 255)).abs().max() <= 0.5


@pytest.mark.parametrize(
    ("coins", "value"),
    [((False, True, True, False, False), 0.5), ((False, True, False, True, False), 16.0)],
)
def test_saturation_and_hue_change_alone(
    monkeypatch: pytest.MonkeyPatch, coins: tuple[bool, ...], value: float
) -> None:
    found = one_distorted(monkeypatch, IMAGE, coins, [value])
    for pixel, was in zip(found.flatten(1).T / 255, IMAGE.flatten(1).T / 255, strict=True):
        hue, saturation, brightness = colorsys.rgb_to_hsv(*was.tolist())
        if coins[2]:
            saturation *= value
        else:
            hue = (hue + value / 256) % 1
        want = torch.tensor(colorsys.hsv_to_rgb(hue, saturation, brightness))
        assert (pixel - want).abs().max() < 9 / 255  # bytes for hue and saturation round


def test_ranges_are_filled_and_half_is_left_alone() -> None:
    grey = torch.full((3, 1, 1), 100, dtype=torch.uint8)  # without a hue
    values = torch.tensor([photometric_distortion(grey)[0, 0, 0].item() for _ in range(1000)])
    assert 34 <= values.min() <= 45  # (100 - 32) / 2
    assert 185 <= values.max() <= 198  # (100 + 32) * 1.5
    assert abs((values == 100).float().mean() - 0.25) < 0.06  # neither brightness nor contrast
    red = torch.tensor([200, 40, 40], dtype=torch.uint8).view(3, 1, 1)
    turns = []
    for _ in range(400):
        hue = colorsys.rgb_to_hsv(*photometric_distortion(red).flatten().tolist())[0]
        turns.append((hue + 0.5) % 1 - 0.5)
    assert 0.09 < max(turns) < 0.105
    assert -0.105 < min(turns) < -0.09
    assert abs(np.mean(np.abs(turns) < 1e-6) - 0.5) < 0.1


# ---- in a loader


@forks
def test_batches_depend_on_the_seed_only(tmp_path: Path) -> None:
    split = masks.open_split(task(write_set(tmp_path / "set")), "training")

    def two_epochs(seed: int, workers: int) -> tuple[Tensor, Tensor]:
        loader = ImageLoader(
            split,
            training_pair(24),
            batch_size=3,
            shuffle=True,
            seed=seed,
            max_corrupt=0.0,
            device=torch.device("cpu"),
            loader_workers=workers,
        )
        images, classes = zip(*loader, *loader, strict=True)
        return torch.cat(images), torch.cat(classes)

    images, classes = two_epochs(0, 0)
    assert images.shape == (12, 3, 24, 24)
    for workers in (0, 2):
        again = two_epochs(0, workers)
        assert torch.equal(again[0], images)
        assert torch.equal(again[1], classes)
    assert not torch.equal(two_epochs(1, 0)[0], images)
