"""Random erasing, Mixup and CutMix on a batch that is normalised already, as timm does them.

Zhong et al., arXiv:1708.04896; Zhang et al., arXiv:1710.09412; Yun et al., arXiv:1905.04899.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

_ATTEMPTS = 10
_AREA = (0.02, 1 / 3)  # timm's defaults: share of the image, aspect ratio of the rectangle
_ASPECT = (0.3, 1 / 0.3)

EraseMode = Literal["pixel", "rand", "const"]


def erase(
    images: Tensor, prob: float, mode: EraseMode, generator: torch.Generator | None
) -> Tensor:
    """Images (B, C, H, W) with one rectangle filled in a share `prob` of them.

    mode: timm's; `pixel`: normal noise, `rand`: one normal colour, `const`: zeros.
    """
    size, channels = len(images), images.shape[1]
    height, width = images.shape[2:]
    draws = torch.rand((size, _ATTEMPTS, 4), generator=generator, device=images.device)
    share, stretch, down, right = draws.unbind(2)
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * share) * (height * width)
    low, high = math.log(_ASPECT[0]), math.log(_ASPECT[1])
    aspect = torch.exp(low + (high - low) * stretch)
    h, w = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (h < height) & (w < width)
    top = (down * (height - h + 1)).floor()
    left = (right * (width - w + 1)).floor()
    rank = torch.arange(_ATTEMPTS, 0, -1, device=images.device)
    first = (fits * rank).argmax(dim=1, keepdim=True)  # of those that fit
    top, left, h, w = (number.gather(1, first) for number in (top, left, h, w))  # (B, 1)
    chosen = torch.rand((size, 1), generator=generator, device=images.device) <= prob
    h = torch.where(chosen & fits.any(dim=1, keepdim=True), h, 0.0)
    inside = _box(top, left, h, w, height, width)
    if mode == "const":
        return torch.where(inside, 0.0, images)
    shape = images.shape if mode == "pixel" else (size, channels, 1, 1)
    noise = torch.randn(shape, generator=generator, device=images.device, dtype=images.dtype)
    return torch.where(inside, noise, images)


def mix(
    images: Tensor,
    targets: Tensor,
    mixup: float,
    cutmix: float,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) and targets (B, classes), each mixed with its mirror in the batch.

    timm's Mixup in its default mode: one draw a batch; Mixup or CutMix, each half of the time where
    both are wanted; their share is Beta(alpha, alpha), and CutMix's is what is left of the image.
    """
    device, (height, width) = images.device, images.shape[2:]
    other = images.flip(0)
    uniform = torch.rand((3, 1), generator=generator, device=device)
    ones = torch.ones(1, device=device)
    share = _beta(mixup, generator, ones) if mixup > 0 else ones
    blended = other + share * (images - other)
    if cutmix > 0:
        box, left_over = _cut(_beta(cutmix, generator, ones), uniform[1:], height, width)
        pasted = torch.where(box, other, images)
        if mixup > 0:
            cut = uniform[0] < 0.5
            images = torch.where(cut, pasted, blended)
            share = torch.where(cut, left_over, share)
        else:
            images, share = pasted, left_over
    else:
        images = blended
    return images, targets * share + targets.flip(0) * (1 - share)


def one_hot(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Labels (B,) as shares (B, num_classes), smoothed over all classes."""
    off = smoothing / num_classes
    shares = torch.full((len(labels), num_classes), off, device=labels.device)
    return shares.scatter_(1, labels.unsqueeze(1), 1 - smoothing + off)


def _cut(share: Tensor, place: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """A box (1, 1, H, W) of 1 - share of the image, and what its part in the image leaves, (1,)."""
    side = (1 - share).sqrt()
    h, w = (side * height).floor(), (side * width).floor()
    y, x = (place[0] * height).floor(), (place[1] * width).floor()
    top, bottom = y - (h / 2).floor(), y + ((h + 1) / 2).floor()
    left, right = x - (w / 2).floor(), x + ((w + 1) / 2).floor()
    top, bottom = top.clamp(0, height), bottom.clamp(0, height)
    left, right = left.clamp(0, width), right.clamp(0, width)
    area = (bottom - top) * (right - left)
    box = _box(top, left, bottom - top, right - left, height, width)
    return box, 1 - area / (height * width)


def _box(top: Tensor, left: Tensor, h: Tensor, w: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, H, W) bool: within the rectangle of each image; numbers are (B,) or (B, 1)."""
    y = torch.arange(height, device=top.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=top.device).view(1, 1, 1, -1)
    top, left, h, w = (number.view(-1, 1, 1, 1) for number in (top, left, h, w))
    return (y >= top) & (y < top + h) & (x >= left) & (x < left + w)


def _beta(alpha: float, generator: torch.Generator | None, like: Tensor) -> Tensor:
    """One draw of Beta(alpha, alpha), as two gammas; (1,)."""
    # torch.distributions does the same, without a generator.
    gammas = torch._standard_gamma((alpha * like).expand(2, 1).contiguous(), generator=generator)
    tiny = torch.finfo(gammas.dtype).tiny
    return gammas[0].clamp(min=tiny) / (gammas[0].clamp(min=tiny) + gammas[1].clamp(min=tiny))
