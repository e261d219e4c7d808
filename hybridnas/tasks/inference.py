"""How a segmenting network sees an image: whole or by windows, once or in several versions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..counting import Size
from ..errors import ConfigError


@dataclass(frozen=True, slots=True)
class Inference:
    """window: None: the whole image at once; else the side of the squares that slide over it,
    `stride` pixels further each time, whose logits are averaged where they overlap.
    scales: the sizes at which an image is seen, as factors of the size it comes in. flip: seen
    mirrored, too. Of several versions the shares (softmax) are averaged.

    Raises ConfigError.
    """

    window: int | None = None
    stride: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if (self.window is None) != (self.stride is None):
            raise ConfigError(
                "inference: give window and stride, or none of them; "
                f"got window {self.window} and stride {self.stride}"
            )
        if self.window is not None and not 0 < (self.stride or 0) <= self.window:
            raise ConfigError(
                f"inference: stride must be 1 to window ({self.window}), got {self.stride}"
            )
        if not self.scales or min(self.scales) <= 0:
            raise ConfigError(f"inference: scales must be above 0, got {self.scales}")

    @property
    def gives_shares(self) -> bool:
        """Whether `class_scores` gives shares, not logits."""
        return self.flip or len(self.scales) > 1

    @property
    def words(self) -> str:
        """`whole, once`; `by windows of 512 px, 341 px apart, at 0.5, 1 times its size, mirrored,
        too`."""
        at = ", ".join(f"{scale:g}" for scale in self.scales)
        said = [
            "whole"
            if self.window is None
            else f"by windows of {self.window} px, {self.stride} px apart",
            *([f"at {at} times its size"] if self.scales != (1.0,) else []),
            *(["mirrored, too"] if self.flip else []),
        ]
        return ", ".join(said if self.gives_shares or self.scales != (1.0,) else [*said, "once"])


WHOLE = Inference()
MULTI_SCALE = Inference(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75), flip=True)
"""As papers report it beside the single scale."""


def class_scores(model: nn.Module, images: Tensor, size: Size, inference: Inference) -> Tensor:
    """Images (B, 3, H, W) -> (B, K, *size): logits of one version, else mean shares.

    model: in eval mode, images to logits (B, K, H, W).
    """
    versions = [*_versions(images, inference)]
    total: Tensor | None = None
    for version, mirrored in versions:
        logits = _resize(_logits(model, version, inference), size)
        scores = logits.softmax(1) if inference.gives_shares else logits
        scores = scores.flip(3) if mirrored else scores
        total = scores if total is None else total.add_(scores)
    assert total is not None  # there is at least one scale
    return total / len(versions)


def _versions(images: Tensor, inference: Inference) -> Iterator[tuple[Tensor, bool]]:
    """Each with whether it is mirrored."""
    height, width = images.shape[2:]
    for scale in inference.scales:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        version = _resize(images, size, antialias=True)
        yield version, False
        if inference.flip:
            yield version.flip(3), True


def _logits(model: nn.Module, images: Tensor, inference: Inference) -> Tensor:
    if inference.window is None or inference.stride is None:
        return model(images)
    height, width = images.shape[2:]
    total = count = images.new_zeros(())
    tops = _starts(height, inference.window, inference.stride)
    lefts = _starts(width, inference.window, inference.stride)
    for top, left in itertools.product(tops, lefts):
        bottom, right = min(top + inference.window, height), min(left + inference.window, width)
        logits = model(images[:, :, top:bottom, left:right])
        if not total.ndim:
            total = logits.new_zeros((*logits.shape[:2], height, width))
            count = logits.new_zeros((height, width))
        total[:, :, top:bottom, left:right] += logits
        count[top:bottom, left:right] += 1
    return total / count


def _starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin: all `stride` apart but the last, which ends where the image ends."""
    last = max(length - window, 0)
    return [*range(0, last, stride), last]


def _resize(x: Tensor, size: Size, antialias: bool = False) -> Tensor:
    if x.shape[2:] == torch.Size(size):
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False, antialias=antialias)
