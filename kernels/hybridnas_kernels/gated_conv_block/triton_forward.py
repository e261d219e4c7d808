"""The block's forward in Triton: norm and projection, convolution, gate and projection."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import configs
from .depthwise import convolve
from .layout import Layout
from .triton_kernel import gelu, pack


@triton.jit(do_not_specialize=["tokens"])
def _norm_project_kernel(
    x,  # (tokens, width)
    w1,  # (columns, width_pad)
    b1,  # (columns,)
    normed,  # (tokens, width_pad), written if KEEP
    rstd,  # (tokens,), written if KEEP
    z,  # (tokens, at least columns)
    tokens,
    width,
    width_pad,
    columns,
    z_stride,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,  # at least width_pad
    KEEP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """z = (x - mean) / std @ w1^T + b1 for BLOCK_M tokens, which stay on the chip."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    token = (m < tokens - first)[:, None]
    at = x + first * width + m[:, None] * width + d[None, :]
    row = tl.load(at, token & (d < width)[None, :], 0.0).to(tl.float32)
    mean = tl.sum(row, 1) / width
    row = tl.where((d < width)[None, :], row - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(row * row, 1) / width + eps)
    row = (row * scale[:, None]).to(w1.dtype.element_ty)
    if KEEP:
        at = normed + first * width_pad + m[:, None] * width_pad + d[None, :]
        tl.store(at, row, token & (d < width_pad)[None, :])
        tl.store(rstd + first + m, scale, m < tokens - first)
    z += first * z_stride
    for start in range(0, columns, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        at = w1 + n[None, :] * width_pad + d[:, None]
        w = tl.load(at, (d < width_pad)[:, None] & (n < columns)[None, :], 0.0)
        b = tl.load(b1 + n, n < columns, 0.0)
        out = tl.dot(row, w, input_precision=PRECISION) + b[None, :]
        out = out.to(z.dtype.element_ty)
        tl.store(z + m[:, None] * z_stride + n[None, :], out, token & (n < columns)[None, :])


@triton.jit(do_not_specialize=["tokens"])
def _norm_kernel(
    x,  # (tokens, width)
    normed,  # (tokens, width_pad)
    rstd,  # (tokens,)
    tokens,
    width,
    width_pad,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_D: tl.constexpr,  # at least width_pad
):
    """normed = (x - mean) / std for BLOCK_M tokens."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    token = (m < tokens - first)[:, None]
    at = x + first * width + m[:, None] * width + d[None, :]
    row = tl.load(at, token & (d < width)[None, :], 0.0).to(tl.float32)
    mean = tl.sum(row, 1) / width
    row = tl.where((d < width)[None, :], row - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(row * row, 1) / width + eps)
    row = (row * scale[:, None]).to(normed.dtype.element_ty)
    at = normed + first * width_pad + m[:, None] * width_pad + d[None, :]
    tl.store(at, row, token & (d < width_pad)[None, :])
    tl.store(rstd + first + m, scale, m < tokens - first)


@triton.jit(do_not_specialize=["tokens"])
def _project_kernel(
    normed,  # (tokens, width_pad)
    w1,  # (columns, width_pad)
    b1,  # (columns,)
    z,  # (tokens, at least columns)
    tokens,
    width_pad,
    columns,
    z_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """z = normed @ w1^T + b1. Programs that follow each other read the same tokens."""
    num_n = tl.cdiv(columns, BLOCK_N)
    first = (tl.program_id(0) // num_n).to(tl.int64) * BLOCK_M
    n = (tl.program_id(0) % num_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    m = tl.arange(0, BLOCK_M)
    k = tl.arange(0, BLOCK_K)
    token = (m < tokens - first)[:, None]
    column = (n < columns)[None, :]
    a_at = normed + first * width_pad + m[:, None] * width_pad + k[None, :]
    w_at = w1 + n[None, :] * width_pad + k[:, None]
    out = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, width_pad, BLOCK_K):
        inside = start + k < width_pad
        a = tl.load(a_at + start, token & inside[None, :], 0.0)
        w = tl.load(w_at + start, inside[:, None] & column, 0.0)
        out = tl.dot(a, w, out, input_precision=PRECISION)
    out += tl.load(b1 + n, n < columns, 0.0)[None, :]
    at = z + first * z_stride + m[:, None] * z_stride + n[None, :]
    tl.store(at, out.to(z.dtype.element_ty), token & column)


@triton.jit(do_not_specialize=["tokens", "pixels"])
def _gate_project_kernel(
    z,  # (tokens, z_stride)
    w2,  # (width, hidden_pad)
    b2,  # (width,)
    x,  # (tokens, width)
    branch_scale,  # (images,), read if SCALED
    out,  # (tokens, width)
    tokens,
    width,
    hidden_pad,
    gate,
    gated,
    z_stride,
    pixels,  # tokens of an image
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    CHUNKS: tl.constexpr,  # accumulators of BLOCK_N columns
    SCALED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """out = x + scale * ((gelu(gate) * gated) @ w2^T + b2), BLOCK_M tokens by CHUNKS BLOCK_N."""
    num_n = tl.cdiv(width, BLOCK_N * CHUNKS)
    first = (tl.program_id(0) // num_n).to(tl.int64) * BLOCK_M
    n0 = (tl.program_id(0) % num_n) * BLOCK_N * CHUNKS
    n = n0 + tl.arange(0, BLOCK_N)
    m = tl.arange(0, BLOCK_M)
    k = tl.arange(0, BLOCK_K)
    token = (m < tokens - first)[:, None]
    z_at = z + first * z_stride + m[:, None] * z_stride + k[None, :]
    w_at = w2 + n[None, :] * hidden_pad + k[:, None]
    accs = ()
    for _ in tl.static_range(CHUNKS):
        accs = (*accs, tl.zeros((BLOCK_M, BLOCK_N), tl.float32))
    for start in range(0, hidden_pad, BLOCK_K):
        inside = start + k < hidden_pad
        g = tl.load(z_at + gate + start, token & inside[None, :], 0.0).to(tl.float32)
        y = tl.load(z_at + gated + start, token & inside[None, :], 0.0).to(tl.float32)
        h = (gelu(g) * y).to(w2.dtype.element_ty)
        new = ()
        for c in tl.static_range(CHUNKS):
            column = (n + c * BLOCK_N < width)[None, :]
            w = tl.load(w_at + c * BLOCK_N * hidden_pad + start, inside[:, None] & column, 0.0)
            new = (*new, tl.dot(h, w, accs[c], input_precision=PRECISION))
        accs = new
    if SCALED:
        s = tl.load(branch_scale + (first + m) // pixels, m < tokens - first, 0.0).to(tl.float32)
    for c in tl.static_range(CHUNKS):
        col = n + c * BLOCK_N
        branch = accs[c] + tl.load(b2 + col, col < width, 0.0).to(tl.float32)[None, :]
        if SCALED:
            branch *= s[:, None]
        at = first * width + m[:, None] * width + col[None, :]
        inside = token & (col < width)[None, :]
        total = tl.load(x + at, inside, 0.0).to(tl.float32) + branch
        tl.store(out + at, total.to(out.dtype.element_ty), inside)


def forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    branch_scale: Tensor | None,
    eps: float,
    dtype: torch.dtype,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The block's output, and what its backward needs: normalised x, 1 / std, z, w1 and w2.

    keep: whether there will be a backward; else the first two may be empty.
    """
    lay = Layout(x.shape[-1], out_weight.shape[1], conv_weight.shape[0])
    tokens, size = x.numel() // lay.width, dtype.itemsize
    w1, b1, w2 = pack(lay, dtype, norm_weight, norm_bias, in_weight, in_bias, out_weight)
    z = x.new_empty(*x.shape[:-1], lay.columns, dtype=dtype)
    normed, rstd = _normalise_and_project(x, w1, b1, z, lay, eps, keep)
    convolve(z, lay, conv_weight, conv_bias)
    out = torch.empty_like(x)
    config = configs.gate_project(lay.width, size)
    blocks = triton.cdiv(lay.width, config.block_n * config.chunks)
    _gate_project_kernel[(triton.cdiv(tokens, config.block_m) * blocks,)](
        z, w2, out_bias, x, branch_scale, out,
        tokens, lay.width, lay.padded_hidden, lay.gate, lay.gated, lay.columns,
        x.shape[1] * x.shape[2],
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        CHUNKS=config.chunks, SCALED=branch_scale is not None, PRECISION=configs.precision(dtype),
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return out, normed, rstd, z, w1, w2


def _normalise_and_project(
    x: Tensor, w1: Tensor, b1: Tensor, z: Tensor, lay: Layout, eps: float, keep: bool
) -> tuple[Tensor, Tensor]:
    """Fills the columns of z before the convolution's output."""
    tokens, size, precision = x.numel() // lay.width, w1.itemsize, configs.precision(w1.dtype)
    fused = lay.width <= configs.FUSED_NORM_WIDTH
    kept = tokens if keep or not fused else 0
    normed = x.new_empty(kept, lay.padded_width, dtype=w1.dtype)
    rstd = x.new_empty(kept, dtype=torch.float32)
    whole = configs.power_of_two(lay.padded_width)
    if fused:
        config = configs.norm_project(lay.width, size)
        _norm_project_kernel[(triton.cdiv(tokens, config.block_m),)](
            x, w1, b1, normed, rstd, z,
            tokens, lay.width, lay.padded_width, lay.convolved, lay.columns, eps,
            BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_D=whole, KEEP=keep,
            PRECISION=precision, num_warps=config.num_warps, num_stages=config.num_stages,
        )  # fmt: skip
        return normed, rstd
    rows = max(1, 4096 // whole)
    _norm_kernel[(triton.cdiv(tokens, rows),)](
        x, normed, rstd, tokens, lay.width, lay.padded_width, eps, BLOCK_M=rows, BLOCK_D=whole
    )
    config = configs.project(lay.width, size)
    blocks = triton.cdiv(lay.convolved, config.block_n)
    _project_kernel[(triton.cdiv(tokens, config.block_m) * blocks,)](
        normed, w1, b1, z, tokens, lay.padded_width, lay.convolved, lay.columns,
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        PRECISION=precision, num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return normed, rstd
