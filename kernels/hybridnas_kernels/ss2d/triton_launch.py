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
        *_parameters(dt_weight, A, D, dt_bias),
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
        STAGES=1,
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
) -> tuple[Tensor, ...]:
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
        *_parameters(dt_weight, A, D, dt_bias),
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
        STATES=max(16, triton.next_power_of_2(2 * N)),
        GROUP=group,
        FAST=_is_fast(dbc),
        STAGES=3,
        UNIT=unit,
        num_warps=1,
    )
    d_dbc = parts.sum(0, dtype=dbc.dtype) if num_blocks > 1 else parts[0]
    dA, d_weight, d_bias, dD = d_parameters.sum(0).split([N, R, 1, 1], dim=1)
    of_parameters = (d_weight.mT, dA.mT, dD.squeeze(1), d_bias.squeeze(1))
    parameters = (dt_weight, A, D, dt_bias)
    return _merged(maps), d_dbc, *map(_as_fresh, of_parameters, parameters)


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


def _parameters(dt_weight: Tensor, A: Tensor, D: Tensor, dt_bias: Tensor) -> tuple[Tensor, ...]:
    """As both kernels read them; A is (K, N, C) there, float32."""
    A = A.float().mT.contiguous()
    return dt_weight.contiguous(), A, D.contiguous(), dt_bias.contiguous()


def _as_fresh(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A contiguous copy in the parameter's type."""
    return gradient.to(parameter.dtype, memory_format=torch.contiguous_format, copy=True)


def _as_rows(x: Tensor) -> Tensor:
    """x (B, H, W, C) itself if its positions are rows, evenly apart, of adjacent channels.

    stride(2) of the result is what they are apart, also where W = 1 and x's own says nothing.
    """
    _, height, width, _ = x.shape
    evenly = height == 1 or width == 1 or x.stride(1) == width * x.stride(2)
    x = x if x.stride(3) == 1 and evenly else x.contiguous()
    apart = x.stride(2) if width > 1 else x.stride(1)
    return x.as_strided(x.shape, (x.stride(0), width * apart, apart, 1))


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
