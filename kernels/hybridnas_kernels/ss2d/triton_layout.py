"""How ss2d's kernels find x and dbc in memory; copies where they could not."""

from __future__ import annotations

import triton
from torch import Tensor

from ..triton_launch import blocks_of, launch
from .triton_pack import pack_kernel


def as_rows(x: Tensor) -> Tensor:
    """x (B, H, W, C) itself if its positions are rows, evenly apart, of adjacent channels.

    stride(2) of the result is what they are apart, also where W = 1 and x's own says nothing.
    """
    _, height, width, _ = x.shape
    evenly = height == 1 or width == 1 or x.stride(1) == width * x.stride(2)
    x = x if x.stride(3) == 1 and evenly else x.contiguous()
    apart = x.stride(2) if width > 1 else x.stride(1)
    return x.as_strided(x.shape, (x.stride(0), width * apart, apart, 1))


def pairs_in(rank: int, dbc: Tensor) -> int:
    """2 if every address of dbc's dt and b is that of an even element, else 1."""
    numbers = (rank, dbc.stride(0), dbc.stride(2), dbc.data_ptr() // dbc.element_size())
    return 1 if any(number % 2 for number in numbers) else 2


def in_pairs(dbc: Tensor, directions: int, rank: int) -> tuple[Tensor, int]:
    """dbc of one state with dt and b at even elements, and where b lies in a direction's part.

    That is dbc itself where it can be, else a copy, with a zero between dt and b if R is odd.
    """
    if pairs_in(rank, dbc) == 2:
        return dbc, rank
    B, H, W, _ = dbc.shape
    b_at = rank + rank % 2
    width = b_at + 2
    packed = dbc.new_empty(B, H, W, directions * width)
    padded = triton.next_power_of_2(width)
    rows = max(1, 1024 // padded)
    launch(
        pack_kernel,
        (B * blocks_of(H * W * directions, rows),),
        dbc,
        packed,
        H * W,
        rank,
        b_at,
        dbc.stride(0),
        dbc.stride(2),
        DIRECTIONS=directions,
        WIDTH=padded,
        ROWS=rows,
        num_warps=4,
    )
    return packed, b_at
