"""Cutting a map into windows, padded with zeros at the right and the bottom."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .tracing import untraced


@untraced
def partition(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B * windows, window, window, C), row by row."""
    B, H, W, C = x.shape
    down, right = -H % window, -W % window
    if down + right > 0:
        x = F.pad(x, (0, 0, 0, right, 0, down))
    x = x.view(B, (H + down) // window, window, (W + right) // window, window, C)
    return x.transpose(2, 3).flatten(0, 2)


@untraced
def unpartition(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of partition: (B * windows, window, window, C) -> (B, height, width, C)."""
    rows, columns = (height + window - 1) // window, (width + window - 1) // window
    x = x.reshape(-1, rows, columns, window, window, x.shape[-1]).transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]
