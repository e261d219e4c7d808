"""Shears, shifts and rotations: each image by its own affine map, as Pillow's Image.transform."""

from __future__ import annotations

import torch
from torch import Tensor

# How a pixel is interpolated, one number an image.
NEAREST, BILINEAR, BICUBIC = 0, 1, 2

# A value that is a whole number but for float32's last bits must not be cut to the one below.
_TOLERANCE = 2e-4


def transform(pixels: Tensor, matrix: Tensor, interpolation: Tensor, fill: Tensor) -> Tensor:
    """Pixels (B, C, H, W) float32 of whole numbers, moved; `fill` (C,) where nothing comes from.

    matrix: (B, 6) as Pillow's: the pixel at (x, y) comes from (a x + b y + c, d x + e y + f).
    interpolation: (B,) of NEAREST, BILINEAR, BICUBIC. The identity gives every pixel back.
    Pillow's cubic here has a = -1 (Geometry.c), where its resizing has -1/2; edges repeat.
    """
    channels, height, width = pixels.shape[1:]
    x, y = _origins(matrix, height, width)  # (B, H, W) each
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    column, x_weights = _taps(x - 0.5, interpolation)  # (B, 4, H, W) each
    row, y_weights = _taps(y - 0.5, interpolation)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    flat = pixels.flatten(2)
    total = torch.zeros_like(pixels)
    for tap in range(4):
        index = (row[:, tap : tap + 1] * width + column).flatten(1)  # (B, 4HW)
        found = flat.gather(2, index.unsqueeze(1).expand(-1, channels, -1))
        line = found.view(-1, channels, 4, height, width).mul_(x_weights.unsqueeze(1)).sum(dim=2)
        total += line.mul_(y_weights[:, tap : tap + 1])
    moved = total.add_(_TOLERANCE).floor_().clamp_(0, 255)
    return torch.where(inside.unsqueeze(1), moved, fill.view(1, -1, 1, 1))


def _origins(matrix: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(B, H, W) twice: where each pixel's centre comes from; pixel i spans i ... i + 1."""
    a, b, c, d, e, f = (number.view(-1, 1, 1) for number in matrix.unbind(1))
    x = torch.arange(width, device=matrix.device) + 0.5
    y = (torch.arange(height, device=matrix.device) + 0.5).unsqueeze(1)
    return a * x + b * y + c, d * x + e * y + f


def _taps(place: Tensor, interpolation: Tensor) -> tuple[Tensor, Tensor]:
    """The four pixels around a place on one axis and their weights, (B, 4, H, W) each."""
    kind = interpolation.view(-1, 1, 1)
    base = place.floor()
    d = place - base
    later = torch.where(kind == NEAREST, (d >= 0.5).float(), d)  # of the two neighbours' weights
    cubic = kind == BICUBIC
    # Keys' kernel with a = -1 at 1 + d, d, 1 - d, 2 - d.
    weights = torch.stack(
        [
            torch.where(cubic, ((2 - d) * d - 1) * d, 0.0),
            torch.where(cubic, (d - 2) * d * d + 1, 1 - later),
            torch.where(cubic, ((1 - d) * d + 1) * d, later),
            torch.where(cubic, (d - 1) * d * d, 0.0),
        ],
        dim=1,
    )
    steps = torch.arange(-1, 3, device=place.device).view(1, 4, 1, 1)
    return base.long().unsqueeze(1) + steps, weights
