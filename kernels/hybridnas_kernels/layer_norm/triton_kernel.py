"""Layer norm in Triton: a program takes several rows whole, so that short rows fill it too."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_launch import blocks_of, launch

PROGRAMS = 528  # of the backward, each with partial sums over its rows: four a multiprocessor
ELEMENTS = 4096  # what a program computes at a time


@triton.jit(do_not_specialize=["rows"])
def _forward_kernel(
    x,  # (rows, width)
    weight,  # (width,)
    bias,  # (width,)
    y,  # (rows, width)
    mean,  # (rows,) float32
    rstd,  # (rows,) float32
    rows,
    width,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,  # at least width
):
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    column = n < width
    inside = (m < rows - first)[:, None] & column[None, :]
    at = first * width + m[:, None] * width + n[None, :]
    row = tl.load(x + at, inside, 0.0).to(tl.float32)
    center = tl.sum(row, 1) / width
    row = tl.where(column[None, :], row - center[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(row * row, 1) / width + eps)
    gamma = tl.load(weight + n, column, 0.0).to(tl.float32)
    beta = tl.load(bias + n, column, 0.0).to(tl.float32)
    row = row * scale[:, None] * gamma[None, :] + beta[None, :]
    tl.store(y + at, row.to(y.dtype.element_ty), inside)
    tl.store(mean + first + m, center, m < rows - first)
    tl.store(rstd + first + m, scale, m < rows - first)


@triton.jit(do_not_specialize=["rows", "blocks"])
def _backward_kernel(
    dy,  # (rows, width)
    x,  # (rows, width)
    weight,  # (width,)
    mean,  # (rows,) float32
    rstd,  # (rows,) float32
    dx,  # (rows, width)
    partial,  # (2, programs, width) float32: sums for weight and bias over a program's rows
    rows,
    width,
    blocks,  # of BLOCK_M rows that a program takes
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,  # at least width
):
    """dx = (g - mean(g) - n mean(g n)) / std, with n the normalised x and g = dy * weight."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M * blocks
    m = tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    column = n < width
    gamma = tl.load(weight + n, column, 0.0).to(tl.float32)
    dweight = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    dbias = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for _ in range(blocks):
        row = m < rows - first
        inside = row[:, None] & column[None, :]
        at = first * width + m[:, None] * width + n[None, :]
        grad = tl.load(dy + at, inside, 0.0).to(tl.float32)
        normal = tl.load(x + at, inside, 0.0).to(tl.float32)
        scale = tl.load(rstd + first + m, row, 0.0)
        center = tl.load(mean + first + m, row, 0.0)
        normal = tl.where(inside, (normal - center[:, None]) * scale[:, None], 0.0)
        dweight += grad * normal
        dbias += grad
        grad *= gamma[None, :]
        slope = tl.sum(grad * normal, 1) / width
        grad -= (tl.sum(grad, 1) / width)[:, None] + normal * slope[:, None]
        tl.store(dx + at, (grad * scale[:, None]).to(dx.dtype.element_ty), inside)
        first += BLOCK_M
    partial += tl.program_id(0) * width + n
    tl.store(partial, tl.sum(dweight, 0), column)
    tl.store(partial + tl.num_programs(0) * width, tl.sum(dbias, 0), column)


def forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """y in dtype, and of each row mean and 1 / std in float32."""
    width = x.shape[-1]
    rows, (block_m, block_n) = x.numel() // width, _blocks(width)
    y = torch.empty_like(x, dtype=dtype)
    mean, rstd = (x.new_empty(rows, dtype=torch.float32) for _ in range(2))
    grid = (blocks_of(rows, block_m),)
    launch(
        _forward_kernel,
        grid,
        x,
        weight,
        bias,
        y,
        mean,
        rstd,
        rows,
        width,
        eps,
        BLOCK_M=block_m,
        BLOCK_N=block_n,
    )
    return y, mean, rstd


def backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, Tensor]:
    """dx, and the gradients of weight and bias as one tensor (2, width)."""
    width = x.shape[-1]
    rows, (block_m, block_n) = x.numel() // width, _blocks(width)
    blocks = blocks_of(blocks_of(rows, block_m), PROGRAMS)
    programs = blocks_of(rows, block_m * blocks)
    dx = torch.empty_like(x)
    partial = x.new_empty(2, programs, width, dtype=torch.float32)
    launch(
        _backward_kernel, (programs,), dy, x, weight, mean, rstd, dx, partial, rows, width, blocks,
        BLOCK_M=block_m, BLOCK_N=block_n,
    )  # fmt: skip
    return dx, partial.sum(1).to(weight.dtype)


def _blocks(width: int) -> tuple[int, int]:
    whole = max(16, 1 << (width - 1).bit_length())
    return max(1, ELEMENTS // whole), whole
