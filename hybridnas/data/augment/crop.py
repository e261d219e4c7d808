"""RandomResizedCrop as timm draws it and Pillow resamples it, for a batch of windows at once.

Resampling is separable: along one axis it is a matrix (out, in) of filter weights, so a batch of
windows of any size is two batched matrix products. Pillow widens its filter by the factor of a
reduction (antialiasing), and so do these weights; nothing is approximated but the last bits.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

_ATTEMPTS = 10


class Windows(NamedTuple):
    """One window an image, in pixels of the stored picture, and how it is resampled.

    top, left, height, width: (B,) float32. cubic: (B,) bool; False: bilinear. flip: (B,) bool:
    left and right change places.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    cubic: Tensor
    flip: Tensor


def draw_boxes(
    sizes: Tensor,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: torch.Generator | None,
) -> Tensor:
    """(B, 4) float32: top, left, height, width in whole pixels of pictures of (B, 2) sizes.

    As timm's RandomResizedCropAndInterpolation.get_params: area uniform, aspect ratio (width by
    height) log-uniform, the first of ten attempts that fits, else the largest central window whose
    ratio is allowed.
    """
    height, width = sizes.float().unbind(1)  # (B,)
    draws = torch.rand((len(sizes), _ATTEMPTS, 4), generator=generator, device=sizes.device).unbind(
        2
    )
    area = (scale[0] + (scale[1] - scale[0]) * draws[0]) * (height * width).unsqueeze(1)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + (high - low) * draws[1])
    w, h = (area * aspect).sqrt().round(), (area / aspect).sqrt().round()  # (B, attempts)
    free_y, free_x = height.unsqueeze(1) - h, width.unsqueeze(1) - w
    fits = (free_y >= 0) & (free_x >= 0)
    tried = torch.stack([_upto(draws[2], free_y), _upto(draws[3], free_x), h, w], dim=2)
    # The first that fits: argmax of equal values is not promised to be the first one.
    rank = torch.arange(_ATTEMPTS, 0, -1, device=sizes.device)
    first = (fits * rank).argmax(dim=1)
    chosen = tried.gather(1, first.view(-1, 1, 1).expand(-1, 1, 4)).squeeze(1)
    return torch.where(fits.any(dim=1, keepdim=True), chosen, _central(height, width, ratio))


def scale_boxes(boxes: Tensor, sizes: Tensor, side: tuple[int, int]) -> Tensor:
    """Boxes (B, 4) of pictures of true sizes (B, 2) in pixels of what is stored of them.

    An axis longer than the stored tensor's was shrunk to it, a shorter one was kept (resident.py).
    """
    true = sizes.float()
    limit = torch.cat([torch.full_like(true[:, :1], n) for n in side], dim=1)
    factor = torch.minimum(true, limit) / true
    return boxes * torch.cat([factor, factor], dim=1)


def resample(pixels: Tensor, windows: Windows, size: int) -> Tensor:
    """Windows of pixels (B, C, H, W) uint8 as (B, C, size, size) float32 of whole numbers.

    Like cropping and then resizing in Pillow: no pixel beyond the window is looked at, rows are
    resampled first, and what comes between is rounded to bytes. (Pillow 13 starts with the columns
    where the window is higher than wide. That changes roundings, and in noise what is cut off.)
    """
    height, width = pixels.shape[2:]
    columns = _weights(
        windows.left, windows.width, windows.cubic, windows.flip, width, size
    )  # (B, size, W)
    no_flip = torch.zeros_like(windows.flip)
    rows = _weights(windows.top, windows.height, windows.cubic, no_flip, height, size)
    return resampled(pixels, rows, columns)


def _weights(
    start: Tensor, length: Tensor, cubic: Tensor, flip: Tensor, size_in: int, size_out: int
) -> Tensor:
    """(B, size_out, size_in): what each pixel of an axis gives to each pixel of its window."""
    reduction = length / size_out
    centre = start.unsqueeze(1) + _places(flip, size_out) * reduction.unsqueeze(1)
    # A small tolerance: a scaled window's end may miss a whole number by the last bit.
    first, last = (start + 1e-3).floor(), (start + length - 1e-3).ceil()
    return filter_weights(centre, reduction, first, last, size_in, cubic)


def filter_weights(
    centre: Tensor,
    reduction: Tensor,
    first: Tensor,
    last: Tensor,
    size_in: int,
    cubic: Tensor | None = None,
) -> Tensor:
    """(B, out, size_in): what each pixel of an axis gives to each place that is asked for.

    centre: (B, out), the places, in pixels of the axis, the first of which is 0 to 1. Of each
    image, (B,): reduction, pixels a place stands for; first, last: where the pixels begin and end
    that count; cubic, whether the filter is that, else, and for None, it is linear. A place without
    a pixel has zeros.
    """
    reduction, first, last = (x.view(-1, 1, 1) for x in (reduction, first, last))
    pixel = torch.arange(size_in, device=centre.device).view(1, 1, -1) + 0.5
    distance = ((pixel - centre.unsqueeze(2)) / reduction.clamp(min=1)).abs()
    weights = (1 - distance).clamp(min=0)
    if cubic is not None:
        weights = torch.where(cubic.view(-1, 1, 1), _cubic(distance), weights)
    weights = weights * ((pixel > first) & (pixel < last))
    return weights / weights.sum(dim=2, keepdim=True).clamp(min=1e-6)


def resampled(pixels: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Pixels (B, C, H, W) by weights of rows (B, h, H) and columns (B, w, W): (B, C, h, w) float32
    of whole numbers, rounded to bytes in between, too, as Pillow does it."""
    narrow = as_bytes(torch.matmul(pixels.float(), columns.unsqueeze(1).mT))  # (B, C, H, w)
    return as_bytes(torch.matmul(rows.unsqueeze(1), narrow))


def _places(flip: Tensor, size: int) -> Tensor:
    """(B, size): the centres 0.5, 1.5, ..., backwards where flipped."""
    forward = torch.arange(size, device=flip.device) + 0.5
    return torch.where(flip.unsqueeze(1), size - forward, forward)


def _cubic(d: Tensor) -> Tensor:
    """Keys' kernel with a = -1/2, which Pillow resizes with (IEEE ASSP 29, 1981, equation 15)."""
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d < 1, near, far * (d < 2))


def as_bytes(values: Tensor) -> Tensor:
    """Rounded in place to whole numbers of 0 to 255, halves up."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def _upto(uniform: Tensor, most: Tensor) -> Tensor:
    """A whole number of 0 ... most, each as likely as another; most may be negative: then any."""
    return torch.minimum((uniform * (most + 1)).floor(), most)


def _central(height: Tensor, width: Tensor, ratio: tuple[float, float]) -> Tensor:
    aspect = width / height
    w = torch.where(aspect > ratio[1], (height * ratio[1]).round(), width)
    h = torch.where(aspect < ratio[0], (width / ratio[0]).round(), height)
    top, left = ((height - h) / 2).floor(), ((width - w) / 2).floor()
    return torch.stack([top, left, h, w], dim=1)
