"""Orders in which a scan reads a map.

h: row by row; v: column by column; wK: window by window, K x K tokens each, both in row-major
order (LocalMamba, Huang et al., arXiv 2403.09338); each also backwards (`_flip`). Windows only
reorder: a scan keeps its state from one window to the next.
"""

from __future__ import annotations

import re

from torch import Tensor
from torch.nn import functional as F

from ..tracing import untraced

# (window, flip): the side of the windows; 0: row by row, -1: column by column. Plain numbers, and
# no named ones, since TorchScript compiles the functions that read them.
Order = tuple[int, bool]

_NAME = re.compile(r"(h|v|w[1-9]\d*)(_flip)?")


def order_of(name: str) -> Order | None:
    """What a direction's name means; None if it means nothing."""
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    kind, flip = found.groups()
    window = {"h": 0, "v": -1}.get(kind)
    return int(kind[1:]) if window is None else window, flip is not None


def length(window: int, height: int, width: int) -> int:
    """How many tokens a sequence has: windows pad the map to a multiple of their side."""
    if window <= 0:
        return height * width
    return (height + -height % window) * (width + -width % window)


@untraced
def read_sequence(x: Tensor, window: int, flip: bool) -> Tensor:
    """(B, H, W, C) -> (B, C, L) in that order; tokens that pad are zero."""
    if window == -1:
        y = x.permute(0, 3, 2, 1)
    elif window == 0:
        y = x.permute(0, 3, 1, 2)
    else:
        B, H, W, C = x.shape
        down, right = -H % window, -W % window
        if down + right > 0:
            x = F.pad(x, (0, 0, 0, right, 0, down))
        x = x.view(B, (H + down) // window, window, (W + right) // window, window, C)
        y = x.permute(0, 5, 1, 3, 2, 4)
    y = y.flatten(2)
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
    down, right = -height % window, -width % window
    grid = ((height + down) // window, (width + right) // window)
    x = y.unflatten(2, (grid[0], grid[1], window, window)).permute(0, 2, 4, 3, 5, 1)
    return x.flatten(3, 4).flatten(1, 2)[:, :height, :width]
