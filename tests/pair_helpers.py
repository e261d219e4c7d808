"""Images with masks as they are kept, and what torchvision makes of one pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from mask_sets import shapes
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from hybridnas.data import MEAN, STD, mask_transforms
from hybridnas.data.decoding import WholePair, decode
from hybridnas.data.mask_transforms import PADDING, photometric_distortion
from hybridnas.data.pair_augment import PairPlan

SIZES = [(60, 90), (90, 60), (33, 140), (20, 31)]  # a small one, a panorama


def pairs(number: int) -> list[tuple[Image.Image, NDArray[np.uint8]]]:
    """Of SIZES in turn, with classes 0 to 2 and a border that is ignored."""
    random = np.random.default_rng(0)
    made = [shapes(random, *SIZES[i % len(SIZES)]) for i in range(number)]
    return [(image, labels - np.uint8(1)) for image, labels in made]


def stored(given: list[tuple[Image.Image, NDArray[np.uint8]]], side: int = 400) -> Tensor:
    """(B, 4, H, W), as a split of them is kept."""

    class Given:
        def __len__(self) -> int:
            return len(given)

        def size(self, index: int) -> tuple[int, int]:
            return given[index][0].size[::-1]

        def read(self, index: int) -> tuple[Image.Image, NDArray[np.uint8]]:
            return given[index]

    return torch.from_numpy(decode(Given(), WholePair(side), lambda bad: None).pixels)


def levels(images: Tensor) -> Tensor:
    return images * 255 * torch.tensor(STD).view(3, 1, 1) + 255 * torch.tensor(MEAN).view(3, 1, 1)


def by_torchvision(
    pair: tuple[Image.Image, NDArray[np.uint8]], plan: PairPlan, index: int, side: int, most: float
) -> tuple[Tensor, Tensor]:
    """The crop, padded, by the numbers of a plan."""
    size = plan.sizes[0, index, :2].int().tolist()
    pixels = F.resize(F.pil_to_tensor(pair[0]), size, InterpolationMode.BILINEAR)
    mask = F.resize(torch.from_numpy(pair[1])[None], size, InterpolationMode.NEAREST_EXACT)
    for top, left in plan.corners[0, index].int().tolist():
        window = (..., slice(top, top + side), slice(left, left + side))
        labelled = mask[window][mask[window] != 255]
        if labelled.bincount(minlength=1).max() < most * len(labelled):
            break
    pixels, mask = pixels[window], mask[window]
    if plan.flip[0, index]:
        pixels, mask = pixels.flip(2), mask.flip(2)
    margins = [0, 0, side - mask.shape[2], side - mask.shape[1]]
    return F.pad(pixels, margins, fill=PADDING), F.pad(mask, margins, fill=255)[0]


class _Told:
    """Answers in the order in which it is asked."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self.answers = list(answers)

    def __call__(self, *_: float) -> Any:
        return self.answers.pop(0)


def one_distorted(
    monkeypatch: pytest.MonkeyPatch, image: Tensor, coins: Sequence[bool], values: Sequence[float]
) -> Tensor:
    """photometric_distortion by these numbers, all of which it must ask for."""
    coin, uniform = _Told(coins), _Told(values)
    monkeypatch.setattr(mask_transforms, "_coin", coin)
    monkeypatch.setattr(mask_transforms, "_uniform", uniform)
    found = photometric_distortion(image)
    assert not coin.answers
    assert not uniform.answers
    return found
