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


def draw_erased(
    num_images: int,
    prob: float,
    size: int,
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor:
    """(n, 4) float32: top, left, height, width of what timm's RandomErasing erases.

    The first of ten rectangles that fits, in a share `prob` of the images; else no height.
    """
    draws = torch.rand((num_images, _ATTEMPTS, 4), generator=generator, device=device)
    share, stretch, down, right = draws.unbind(2)
    area = (_AREA[0] + (_AREA[1] - _AREA[0]) * share) * size**2
    low, high = math.log(_ASPECT[0]), math.log(_ASPECT[1])
    aspect = torch.exp(low + (high - low) * stretch)
    h, w = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()
    fits = (h < size) & (w < size)
    top = (down * (size - h + 1)).floor()
    left = (right * (size - w + 1)).floor()
    rank = torch.arange(_ATTEMPTS, 0, -1, device=device)
    first = (fits * rank).argmax(dim=1)  # of those that fit
    tried = torch.stack([top, left, h, w], dim=2)
    boxes = tried.gather(1, first.view(-1, 1, 1).expand(-1, 1, 4)).squeeze(1)
    chosen = torch.rand(num_images, generator=generator, device=device) <= prob
    return boxes * (chosen & fits.any(dim=1)).unsqueeze(1)


def erase(
    images: Tensor, boxes: Tensor, mode: EraseMode, generator: torch.Generator | None
) -> Tensor:
    """Images (B, C, H, W) filled within boxes (B, 4).

    mode: timm's; `pixel`: normal noise, `rand`: one normal colour, `const`: zeros.
    """
    inside = _inside(boxes, *images.shape[2:])
    if mode == "const":
        return torch.where(inside, 0.0, images)
    like = images if mode == "pixel" else images[:, :, :1, :1]
    noise = torch.empty_like(like).normal_(generator=generator)  # in the images' memory format
    return torch.where(inside, noise, images)


def draw_mixed(
    num_batches: int,
    mixup: float,
    cutmix: float,
    size: int,
    device: torch.device,
    generator: torch.Generator | None,
) -> Tensor:
    """(S, 6) float32: whether CutMix, the share of Mixup, top, left, height, width of CutMix.

    timm's Mixup in its default mode, one draw a batch: Mixup or CutMix, each half of the time where
    both are wanted; shares are Beta(alpha, alpha).
    """
    cut, down, right = torch.rand((3, num_batches), generator=generator, device=device)
    chance = 0.0 if cutmix == 0 else 0.5 if mixup > 0 else 1.0
    ones = torch.ones(num_batches, device=device)
    mixed = _beta(mixup, ones, generator) if mixup > 0 else ones
    kept = _beta(cutmix, ones, generator) if cutmix > 0 else ones
    side = ((1 - kept).sqrt() * size).floor()
    y, x = (down * size).floor(), (right * size).floor()
    before, after = (side / 2).floor(), ((side + 1) / 2).floor()
    top, bottom = (y - before).clamp(0, size), (y + after).clamp(0, size)
    left, right = (x - before).clamp(0, size), (x + after).clamp(0, size)
    return torch.stack(
        [(cut < chance).float(), mixed, top, left, bottom - top, right - left], dim=1
    )


def mix(images: Tensor, targets: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Images (B, C, H, W) and targets (B, classes), each mixed with its mirror in the batch.

    drawn: (1, 6) of draw_mixed. What CutMix leaves of a target is the share of its area.
    """
    height, width = images.shape[2:]
    cut, box = drawn[:, 0] > 0, drawn[:, 2:]
    share = torch.where(cut, 1 - box[:, 2] * box[:, 3] / (height * width), drawn[:, 1])
    # CutMix is a mixture, too: wholly the other image within the box, wholly one's own elsewhere.
    own = torch.where(
        cut.view(1, 1, 1, 1),
        (~_inside(box, height, width)).to(images.dtype),
        share.view(1, 1, 1, 1),
    )
    mixed = images * own + images.flip(0) * (1 - own)
    return mixed, targets * share + targets.flip(0) * (1 - share)


def one_hot(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Labels (B,) as shares (B, num_classes), smoothed over all classes."""
    off = smoothing / num_classes
    shares = torch.full((len(labels), num_classes), off, device=labels.device)
    return shares.scatter_(1, labels.unsqueeze(1), 1 - smoothing + off)


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """(B, 1, H, W) bool: within each image's box of (B, 4)."""
    top, left, h, w = (number.view(-1, 1, 1, 1) for number in boxes.unbind(1))
    y = torch.arange(height, device=boxes.device).view(1, 1, -1, 1)
    x = torch.arange(width, device=boxes.device).view(1, 1, 1, -1)
    return (y >= top) & (y < top + h) & (x >= left) & (x < left + w)


def _beta(alpha: float, ones: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draws of Beta(alpha, alpha), one for each of `ones`, as shares of two gammas."""
    # torch.distributions does the same, without a generator.
    gammas = torch._standard_gamma(alpha * torch.stack([ones, ones]), generator=generator)
    gammas = gammas.clamp(min=torch.finfo(gammas.dtype).tiny)  # both may vanish for a small alpha
    return gammas[0] / gammas.sum(dim=0)
