"""Maps as sequences of tokens, in the orders that hybridnas.mixers.orders names."""

from __future__ import annotations

from torch import Tensor

from ...tracing import untraced
from ...windows import partition, unpartition


@untraced
def read_sequence(x: Tensor, window: int, flip: bool) -> Tensor:
    """(B, H, W, C) -> (B, C, L) in that order; tokens that pad are zero."""
    if window == -1:
        y = x.permute(0, 3, 2, 1).flatten(2)
    elif window == 0:
        y = x.permute(0, 3, 1, 2).flatten(2)
    else:
        y = partition(x, window).reshape(x.shape[0], -1, x.shape[3]).transpose(1, 2)
    return y.flip(2) if flip else y


@untraced
def write_sequence(y: Tensor, window: int, flip: bool, height: int, width: int) -> Tensor:
    """(B, C, L) -> (B, H, W, C): the inverse of read_sequence, without the tokens that pad."""
    if flip:
        y = y.flip(2)
    if window == -1:
        return y.unflatten(2, (width, height)).permute(0, 3, 2, 1)
    if window == 0:
        return y.unflatten(2, (height, width)).permute(0, 2, 3, 1)
    windows = y.transpose(1, 2).reshape(-1, window, window, y.shape[1])
    return unpartition(windows, window, height, width)
