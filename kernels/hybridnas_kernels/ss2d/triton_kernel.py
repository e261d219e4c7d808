"""What the forward and the backward kernel share: rows of tiles, softplus, the merge.

A tile is (T, E): T positions in the order of the scan by E channels.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends import interpreted

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def exp2(x, FAST: tl.constexpr):
    """2^x; FAST: one instruction, which flushes denormals."""
    if FAST:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.exp2(x)


@triton.jit
def softplus(x, FAST: tl.constexpr):
    """log(1 + e^x); FAST: within 2e-7 of it, which 16-bit inputs do not resolve."""
    small = exp2(tl.abs(x) * -LOG2E, FAST)
    one_more = 1.0 + small
    if FAST:
        log2 = tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;",
            "=f,f",
            [one_more],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
        return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + log2 * LN2
    else:
        # The second factor makes up for what 1 + small lost of small (Kahan's log1p).
        lost = one_more - 1.0
        safe = tl.where(lost == 0.0, 1.0, lost)
        log = tl.where(lost == 0.0, small, tl.log(one_more) * (small / safe))
        return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + log


@triton.jit
def rows(tile):
    """(T, E) -> a tuple of T rows (1, E).

    Halving a tile down to its rows costs one change of layout, after which a thread holds whole
    columns, and steps from row to row are its own.
    """
    if tile.shape[0] == 1:
        return (tile,)
    else:
        T: tl.constexpr = tile.shape[0] // 2
        E: tl.constexpr = tile.shape[1]
        first, last = tl.split(tile.reshape(2, T, E).permute(1, 2, 0))
        return rows(first) + rows(last)


@triton.jit
def stacked(rows, T: tl.constexpr, start: tl.constexpr = 0):
    """The inverse of rows(): T rows (1, E), from the one numbered start on -> (T, E)."""
    if T == 1:
        return rows[start]
    else:
        E: tl.constexpr = rows[0].shape[1]
        first = stacked(rows, T // 2, start)
        last = stacked(rows, T // 2, start + T // 2)
        return tl.join(first, last).permute(2, 0, 1).reshape(T, E)


@triton.jit
def read_dt(
    row_ptr,
    on_map,
    R,
    RANK: tl.constexpr,
    N: tl.constexpr,
    GROUP: tl.constexpr,
    WARPS: tl.constexpr,
):
    """dt (T, RANK) from the addresses (T, 1) of rows of dbc, and if GROUP is N all b and c."""
    rank = tl.arange(0, RANK)[None, :]
    dt = tl.load(row_ptr + rank, mask=on_map & (rank < R), other=0.0)
    pairs = ()
    if GROUP == N:
        for n in tl.static_range(N):
            pairs += (read_pair(row_ptr + R + n, on_map, N, WARPS),)
    return dt, pairs


@triton.jit
def read_pair(b_ptr, on_map, N, WARPS: tl.constexpr):
    """b and c of one state from the addresses (T, 1) of b; c lies N further.

    Returns (T, 2 WARPS), the pair once for each warp: of a tensor with fewer elements than the
    program has threads, Triton would have every thread load every element.
    """
    second = tl.arange(0, 2 * WARPS)[None, :] % 2
    return tl.load(b_ptr + second * N, mask=on_map, other=0.0)


@triton.jit
def pair_rows(pair, WARPS: tl.constexpr):
    """The rows (1, 1) of b and those of c, from what read_pair() returns."""
    T: tl.constexpr = pair.shape[0]
    pair = pair.to(tl.float32)
    if WARPS == 2:
        pair, copy = tl.split(pair.reshape(T, 2, 2).permute(0, 2, 1))
    b, c = tl.split(pair)
    return rows(b[:, None]), rows(c[:, None])


@triton.jit
def merge_kernel(maps_ptr, out_ptr, size, K: tl.constexpr, BLOCK: tl.constexpr):
    """out (size,) = the sum of maps (K, size), in float32."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.full([BLOCK], 0.0, tl.float32)
    for k in tl.static_range(K):
        total += tl.load(maps_ptr + k * size + at, mask=at < size, other=0.0).to(tl.float32)
    tl.store(out_ptr + at, total, mask=at < size)


def merged(maps: Tensor) -> Tensor:
    """(K, ...) -> the sum over K, in maps' dtype."""
    if maps.shape[0] == 1:
        return maps[0]
    out = torch.empty_like(maps[0])
    block = 2048
    merge_kernel[(triton.cdiv(out.numel(), block),)](
        maps, out, out.numel(), K=maps.shape[0], BLOCK=block
    )
    return out


def as_rows(x: Tensor) -> Tensor:
    """x (B, H, W, C) itself if its positions are rows, evenly apart, of adjacent channels."""
    evenly = x.stride(1) == x.shape[2] * x.stride(2) or x.shape[1] == 1
    return x if x.stride(3) == 1 and evenly else x.contiguous()


def is_fast(x: Tensor) -> bool:
    """Whether x has 16 bits and a GPU computes: the interpreter knows no PTX."""
    return x.element_size() == 2 and not interpreted()


def group_of(num_states: int, most: int) -> int:
    """How many states a kernel treats at a time: all, or a divisor up to `most`."""
    return max(size for size in range(1, most + 1) if num_states % size == 0)


def pairs_in(rank: int, dbc: Tensor) -> int:
    """2 if every address of dbc's dt and b is that of an even element, else 1."""
    numbers = (rank, dbc.stride(0), dbc.stride(2), dbc.data_ptr() // dbc.element_size())
    return 1 if any(number % 2 for number in numbers) else 2
