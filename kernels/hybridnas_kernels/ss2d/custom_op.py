"""ss2d as an operator of torch: what it looks like without data, its gradient and its FLOPs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..library import define
from .orders import length, position_table

CHUNK = 16  # positions between two states that are kept: the rows of a tensor core's tile


class SS2D(torch.autograd.Function):
    """y (B, H, W, C) of x, dbc, dt_weight, A, D, dt_bias and the directions' windows and flips."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        *tensors, ctx.windows, ctx.flips, keep_states = inputs
        y, states = torch.ops.hybridnas.ss2d(*inputs)
        if keep_states:
            ctx.save_for_backward(*tensors, states)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        found = torch.ops.hybridnas.ss2d_backward(dy, *ctx.saved_tensors, ctx.windows, ctx.flips)
        return (*found, None, None, None)


def _forward(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    windows: Sequence[int],
    flips: Sequence[bool],
    keep_states: bool,
) -> tuple[Tensor, Tensor]:
    """y, and the states (B, K, chunks, N, C) before each chunk: empty unless they are kept."""
    from .triton_launch import run_forward

    table = _table(tuple(zip(windows, flips, strict=True)), x.shape[1], x.shape[2], x.device)
    return run_forward(x, dbc, dt_weight, A, D, dt_bias, table, CHUNK, keep_states)


def _fake_forward(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    windows: Sequence[int],
    flips: Sequence[bool],
    keep_states: bool,
) -> tuple[Tensor, Tensor]:
    y = x.new_empty(x.shape)
    if not keep_states:
        return y, A.new_empty(0, dtype=torch.float32)
    longest = max(length(window, x.shape[1], x.shape[2]) for window in windows)
    num_chunks = -(-longest // CHUNK)
    shape = (x.shape[0], len(windows), num_chunks, A.shape[2], x.shape[3])
    return y, A.new_empty(shape, dtype=torch.float32)


def _backward(dy: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    """The gradients of x, dbc, dt_weight, A, D and dt_bias."""
    from .triton_launch import run_backward

    *tensors, windows, flips = rest
    x = tensors[0]
    table = _table(tuple(zip(windows, flips, strict=True)), x.shape[1], x.shape[2], x.device)
    given: tuple[Any, ...] = (dy, *tensors, table, CHUNK)
    return run_backward(*given)


def _fake_backward(dy: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return tuple(t.new_empty(t.shape) for t in rest[:6])


def _forward_flops(
    x_shape: Sequence[int],
    dbc_shape: Sequence[int],
    weight_shape: Sequence[int],
    A_shape: Sequence[int],
    *args: Any,
    **kwargs: Any,
) -> int:
    """9 L E N + L E MACs of the scan (as the literature counts) and L E R of the projection."""
    batch, height, width, channels = x_shape
    directions, _, rank = weight_shape
    macs = batch * directions * height * width * channels * (9 * A_shape[2] + 1 + rank)
    return 2 * macs


def _backward_flops(dy_shape: Sequence[int], *args: Any, **kwargs: Any) -> int:
    return 2 * _forward_flops(*args)


_TENSORS = "Tensor x, Tensor dbc, Tensor dt_weight, Tensor A, Tensor D, Tensor dt_bias"
define(
    f"ss2d({_TENSORS}, int[] windows, bool[] flips, bool keep_states) -> (Tensor, Tensor)",
    _forward,
    _fake_forward,
    _forward_flops,
)
define(
    f"ss2d_backward(Tensor dy, {_TENSORS}, Tensor states, int[] windows, bool[] flips) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
    _backward_flops,
)


@functools.lru_cache(maxsize=256)
def _table(
    directions: tuple[tuple[int, bool], ...], height: int, width: int, device: torch.device
) -> Tensor:
    """The kernels' table of positions, made once for each size of map."""
    table = position_table(list(directions), height, width, CHUNK, torch.device("cpu"))
    return table.to(device, torch.int32)
