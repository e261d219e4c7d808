"""The block's forward: norm, projection, convolution, gate and projection."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_launch import blocks_of, launch
from . import configs
from .depthwise import convolve
from .layout import Layout, layout
from .triton_kernel import gelu, pack, token_scale


@triton.jit(do_not_specialize=["tokens"])
def _norm_kernel(
    x,  # (tokens, width)
    normed,  # (tokens, normed_columns)
    rstd,  # (tokens,)
    tokens,
    width,
    normed_columns,
    eps,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,  # at least normed_columns
):
    """normed = (x - mean) / std, then the constant, for BLOCK_M tokens."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    token = (m < tokens - first)[:, None]
    at = x + first * width + m[:, None] * width + n[None, :]
    row = tl.load(at, token & (n < width)[None, :], 0.0).to(tl.float32)
    mean = tl.sum(row, 1) / width
    row = tl.where((n < width)[None, :], row - mean[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(row * row, 1) / width + eps)
    row = tl.where((n == width)[None, :], 1.0, row * scale[:, None])
    at = normed + first * normed_columns + m[:, None] * normed_columns + n[None, :]
    tl.store(at, row.to(normed.dtype.element_ty), token & (n < normed_columns)[None, :])
    tl.store(rstd + first + m, scale, m < tokens - first)


@triton.jit(do_not_specialize=["tokens", "pixels"])
def _gate_kernel(
    z,  # (tokens, z_stride)
    branch_scale,  # (images,), read if SCALED
    h,  # (tokens, hidden_columns)
    tokens,
    hidden_pad,
    hidden_columns,
    gate,
    gated,
    z_stride,
    pixels,  # tokens of an image
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    SCALED: tl.constexpr,
):
    """h = scale * (gelu(gate) * gated), then the constant, scaled as well."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    token = (m < tokens - first)[:, None]
    inside = token & (n < hidden_pad)[None, :]
    at = z + first * z_stride + m[:, None] * z_stride + n[None, :]
    g = tl.load(at + gate, inside, 0.0).to(tl.float32)
    product = gelu(g) * tl.load(at + gated, inside, 0.0).to(tl.float32)
    product = tl.where((n == hidden_pad)[None, :], 1.0, product)
    if SCALED:
        s = token_scale(branch_scale, first, m, tokens, pixels)
        product *= s[:, None]
    at = h + first * hidden_columns + m[:, None] * hidden_columns + n[None, :]
    tl.store(at, product.to(h.dtype.element_ty), token & (n < hidden_columns)[None, :])


@triton.jit(do_not_specialize=["tokens", "pixels"])
def _gate_project_kernel(
    z,  # (tokens, z_stride)
    w2,  # (width, hidden_columns)
    b2,  # (width,)
    x,  # (tokens, width)
    branch_scale,  # (images,), read if SCALED
    out,  # (tokens, width)
    tokens,
    width,
    hidden_pad,
    hidden_columns,
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
    n = (tl.program_id(0) % num_n) * BLOCK_N * CHUNKS + tl.arange(0, BLOCK_N)
    m = tl.arange(0, BLOCK_M)
    k = tl.arange(0, BLOCK_K)
    token = (m < tokens - first)[:, None]
    z_at = z + first * z_stride + m[:, None] * z_stride + k[None, :]
    w_at = w2 + n[None, :] * hidden_columns + k[:, None]
    accs = ()
    for _ in tl.static_range(CHUNKS):
        accs += (tl.zeros((BLOCK_M, BLOCK_N), tl.float32),)
    for start in range(0, hidden_pad, BLOCK_K):
        inside = start + k < hidden_pad
        g = tl.load(z_at + gate + start, token & inside[None, :], 0.0).to(tl.float32)
        y = tl.load(z_at + gated + start, token & inside[None, :], 0.0).to(tl.float32)
        h = (gelu(g) * y).to(w2.dtype.element_ty)
        new = ()
        for c in tl.static_range(CHUNKS):
            column = (n + c * BLOCK_N < width)[None, :]
            w = tl.load(w_at + c * BLOCK_N * hidden_columns + start, inside[:, None] & column, 0.0)
            new += (tl.dot(h, w, accs[c], input_precision=PRECISION),)
        accs = new
    if SCALED:
        s = token_scale(branch_scale, first, m, tokens, pixels)
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
    conv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    branch_scale: Tensor | None,
    eps: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The block's output, and what its backward needs: normalised x, 1 / std, z, w1 and w2."""
    lay = layout(x.shape[-1], out_weight.shape[1], conv_weight.shape[0])
    linear = norm_weight, norm_bias, in_weight, in_bias, out_weight, out_bias
    w1, w2 = pack(lay, dtype, *linear)
    normed, rstd = _normalise(x, lay, eps, dtype)
    z = x.new_empty(*x.shape[:-1], lay.columns, dtype=dtype)
    torch.mm(normed, w1.t(), out=z.view(-1, lay.columns)[:, : lay.convolved])
    convolve(z, lay, conv_weight, conv_bias)
    if lay.width <= configs.FUSED_WIDTH:
        out = _gate_and_project(x, z, w2, out_bias, branch_scale, lay)
    else:
        h = _gate(z, branch_scale, lay)
        out = torch.empty_like(x)
        if x.dtype == dtype:
            flat = out.view(-1, lay.width)
            torch.addmm(x.view(-1, lay.width), h, w2.t(), out=flat)
        else:
            torch.add(x, torch.mm(h, w2.t()).view(x.shape), out=out)
    return out, normed, rstd, z, w1, w2


def _normalise(x: Tensor, lay: Layout, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    tokens, config = x.numel() // lay.width, configs.rows(lay.normed_columns)
    normed = x.new_empty(tokens, lay.normed_columns, dtype=dtype)
    rstd = x.new_empty(tokens, dtype=torch.float32)
    launch(
        _norm_kernel, (blocks_of(tokens, config.block_m),),
        x, normed, rstd, tokens, lay.width, lay.normed_columns, eps,
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, num_warps=config.num_warps,
    )  # fmt: skip
    return normed, rstd


def _gate(z: Tensor, branch_scale: Tensor | None, lay: Layout) -> Tensor:
    """What the second product reads."""
    tokens, config = z.numel() // lay.columns, configs.gate(lay.hidden)
    h = z.new_empty(tokens, lay.hidden_columns)
    grid = blocks_of(tokens, config.block_m), blocks_of(lay.hidden_columns, config.block_n)
    launch(
        _gate_kernel, grid,
        z, branch_scale, h,
        tokens, lay.padded_hidden, lay.hidden_columns, lay.gate, lay.gated, lay.columns,
        z.shape[1] * z.shape[2],
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, SCALED=branch_scale is not None,
        num_warps=config.num_warps,
    )  # fmt: skip
    return h


def _gate_and_project(
    x: Tensor, z: Tensor, w2: Tensor, b2: Tensor, branch_scale: Tensor | None, lay: Layout
) -> Tensor:
    """The block's output from the whole of z."""
    out, tokens = torch.empty_like(x), x.numel() // lay.width
    config = configs.gate_project(lay.width, z.itemsize)
    blocks = blocks_of(lay.width, config.block_n * config.chunks)
    launch(
        _gate_project_kernel, (blocks_of(tokens, config.block_m) * blocks,),
        z, w2, b2, x, branch_scale, out,
        tokens, lay.width, lay.padded_hidden, lay.hidden_columns, lay.gate, lay.gated, lay.columns,
        x.shape[1] * x.shape[2],
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        CHUNKS=config.chunks, SCALED=branch_scale is not None, PRECISION=configs.precision(z.dtype),
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return out
