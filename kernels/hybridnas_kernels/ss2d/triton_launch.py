"""The launches of ss2d's kernels: memory, strides and block sizes."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from ..backends import interpreted
from .triton_backward import backward_kernel
from .triton_forward import forward_kernel
from .triton_kernel import merge_kernel


def run_forward(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    table: Tensor,
    chunk: int,
    keep_states: bool,
) -> tuple[Tensor, Tensor]:
    """y and the states before each chunk (custom_op.py)."""
    x, dbc = _as_rows(x), _as_rows(dbc)
    B, H, W, C = x.shape
    K, R, N = dt_weight.shape[0], dt_weight.shape[2], A.shape[2]
    num_chunks = table.shape[1] // chunk
    unit = _pairs_in(R, dbc)
    maps = x.new_empty(K, B, H, W, C)
    slots = num_chunks if keep_states else 1
    states = x.new_empty(B, K, slots, N, C, dtype=torch.float32)
    E = 64 if C % 64 == 0 and N == 1 else 32
    forward_kernel[(K * triton.cdiv(C, E) * B,)](
        x,
        dbc,
        dt_weight.contiguous(),
        A.float().mT.contiguous(),
        D.contiguous(),
        dt_bias.contiguous(),
        table,
        maps,
        states,
        B,
        H * W,
        C,
        R // unit,
        K,
        num_chunks,
        x.stride(0),
        x.stride(2),
        dbc.stride(0) // unit,
        dbc.stride(2) // unit,
        N=N,
        T=chunk,
        E=E,
        RANK=max(16, triton.next_power_of_2(R)),
        SAVE=keep_states,
        GROUP=_group_of(N, 4),
        FAST=_is_fast(dbc),
        STAGES=2,
        UNIT=unit,
        num_warps=1,
        maxnreg=168 if E == 64 else None,  # so that a multiprocessor holds twelve programs
    )
    return _merged(maps), states if keep_states else states.new_empty(0)


def run_backward(
    dy: Tensor,
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    states: Tensor,
    table: Tensor,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of x, dbc, dt_weight, A, D and dt_bias (custom_op.py)."""
    x, dbc, dy = _as_rows(x), _as_rows(dbc), dy.contiguous()
    B, H, W, C = x.shape
    K, R, N = dt_weight.shape[0], dt_weight.shape[2], A.shape[2]
    E = 32
    num_blocks = triton.cdiv(C, E)
    unit = _pairs_in(R, dbc)
    maps = x.new_empty(K, B, H, W, C)
    parts = dbc.new_empty(num_blocks, *dbc.shape)
    d_parameters = x.new_empty(B, K, N + R + 2, C, dtype=torch.float32)
    group = _group_of(N, 2)
    carries = x.new_empty(B, K, N, C if group < N else 0, dtype=torch.float32)
    backward_kernel[(K * num_blocks * B,)](
        dy,
        x,
        dbc,
        dt_weight.contiguous(),
        A.float().mT.contiguous(),
        D.contiguous(),
        dt_bias.contiguous(),
        table,
        states,
        maps,
        parts,
        d_parameters,
        carries,
        B,
        H * W,
        C,
        R // unit,
        K,
        table.shape[1] // chunk,
        x.stride(0),
        x.stride(2),
        dbc.stride(0) // unit,
        dbc.stride(2) // unit,
        N=N,
        T=chunk,
        E=E,
        RANK=max(16, triton.next_power_of_2(R)),
        STATES=max(16, triton.next_power_of_2(N)),
        GROUP=group,
        FAST=_is_fast(dbc),
        STAGES=3,
        UNIT=unit,
        num_warps=1,
    )
    dA, d_weight, d_bias, dD = d_parameters.sum(0).split([N, R, 1, 1], dim=1)
    return (
        _merged(maps),
        parts.sum(0, dtype=dbc.dtype) if num_blocks > 1 else parts[0],
        d_weight.mT.to(dt_weight.dtype, memory_format=torch.contiguous_format, copy=True),
        dA.mT.to(A.dtype, memory_format=torch.contiguous_format, copy=True),
        dD.squeeze(1).to(D.dtype, memory_format=torch.contiguous_format, copy=True),
        d_bias.squeeze(1).to(dt_bias.dtype, memory_format=torch.contiguous_format, copy=True),
    )


def _merged(maps: Tensor) -> Tensor:
    """(K, ...) -> the sum over K, in maps' dtype."""
    if maps.shape[0] == 1:
        return maps[0]
    out = torch.empty_like(maps[0])
    block = 2048
    merge_kernel[(triton.cdiv(out.numel(), block),)](
        maps, out, out.numel(), K=maps.shape[0], BLOCK=block
    )
    return out


def _as_rows(x: Tensor) -> Tensor:
    """x (B, H, W, C) itself if its positions are rows, evenly apart, of adjacent channels."""
    evenly = x.stride(1) == x.shape[2] * x.stride(2) or x.shape[1] == 1
    return x if x.stride(3) == 1 and evenly else x.contiguous()


def _is_fast(x: Tensor) -> bool:
    """Whether x has 16 bits and a GPU computes: the interpreter knows no PTX."""
    return x.element_size() == 2 and not interpreted()


def _group_of(num_states: int, most: int) -> int:
    """How many states a kernel treats at a time: all, or a divisor up to `most`."""
    return max(size for size in range(1, most + 1) if num_states % size == 0)


def _pairs_in(rank: int, dbc: Tensor) -> int:
    """2 if every address of dbc's dt and b is that of an even element, else 1."""
    numbers = (rank, dbc.stride(0), dbc.stride(2), dbc.data_ptr() // dbc.element_size())
    return 1 if any(number % 2 for number in numbers) else 2
