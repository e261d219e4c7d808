"""Orders in which a scan reads a map, as tables of positions.

A direction is (window, flip). window: 0, row by row; -1, column by column; n > 0, window by window
of n x n positions, windows and the positions in each row by row (LocalMamba, Huang et al.,
arXiv 2403.09338). Where n does not divide the map, windows reach past its right and lower edge:
what lies there is read as zero, but it is read, so the sequence is longer than the map. flip: the
same sequence from its end.
"""

from __future__ import annotations

import torch
from torch import Tensor

Direction = tuple[int, bool]


def length(window: int, height: int, width: int) -> int:
    """How many positions a sequence has: windows pad the map to a multiple of their side."""
    if window <= 0:
        return height * width
    return (height + -height % window) * (width + -width % window)


def positions(window: int, flip: bool, height: int, width: int, device: torch.device) -> Tensor:
    """The map's positions (row * width + column) in that order; height * width: beside the map.

    Returns (L,) int64.
    """
    if window > 0:
        down, right = height + -height % window, width + -width % window
    else:
        down, right = height, width
    row = torch.arange(down, device=device).unsqueeze(1)
    column = torch.arange(right, device=device)
    inside = (row < height) & (column < width)
    place = torch.where(inside, row * width + column, height * width)
    if window > 0:
        place = place.view(down // window, window, right // window, window).transpose(1, 2)
    elif window == -1:
        place = place.t()
    place = place.flatten()
    return place.flip(0) if flip else place


def position_table(
    directions: list[Direction], height: int, width: int, multiple: int, device: torch.device
) -> Tensor:
    """Of all directions, (K, L) int64, each filled up at its end with positions beside the map.

    L is the longest sequence, rounded up to a multiple of `multiple`.
    """
    orders = [positions(window, flip, height, width, device) for window, flip in directions]
    longest = max([order.shape[0] for order in orders])
    longest += -longest % multiple
    table = torch.full((len(directions), longest), height * width, dtype=torch.int64, device=device)
    for k, order in enumerate(orders):
        table[k, : order.shape[0]] = order
    return table
