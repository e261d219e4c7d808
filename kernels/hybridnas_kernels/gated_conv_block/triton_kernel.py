"""What forward and backward share: the gate's function, and the weights as their products read
them, with the norm's affine map folded in (kernels/README.md), and back to their gradients."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .layout import Layout

ROWS = 16  # rows of a weight a program packs; the rows are short and few


@triton.jit
def normal_cdf(g):
    """Phi(g) and exp(-g^2/2), the first to 1e-7 by Abramowitz & Stegun's formula 26.2.17.

    One exp2 serves both, so that the exact GELU and its derivative cost what one of them costs.
    """
    bell = tl.exp2(g * g * -0.72134752044)  # log2(e) / 2
    t = 1.0 / (1.0 + 0.23164190 * tl.abs(g))
    poly = 0.5307027145 * t - 0.7265760135
    poly = poly * t + 0.7107068705
    poly = poly * t - 0.142248368
    poly = poly * t + 0.127414796
    tail = poly * t * bell
    return tl.where(g > 0, 1.0 - tail, tail), bell


@triton.jit
def gelu(g):
    cdf, _ = normal_cdf(g)
    return g * cdf


@triton.jit
def gelu_and_slope(g):
    """gelu(g) and its derivative Phi(g) + g phi(g)."""
    cdf, bell = normal_cdf(g)
    return g * cdf, cdf + g * bell * 0.3989422804


@triton.jit
def _source_rows(row, hidden, mixed, mixed_pad, identity_pad):
    """Which row of in_weight a row of the packed weight is, and whether it is one at all."""
    gate = row - mixed_pad
    gate_mixed = gate - identity_pad
    identity = gate_mixed - mixed_pad
    plain = hidden - mixed
    source = tl.where(
        row < mixed_pad,
        hidden + plain + row,
        tl.where(
            gate < identity_pad,
            gate,
            tl.where(gate_mixed < mixed_pad, plain + gate_mixed, hidden + identity),
        ),
    )
    real = tl.where(
        row < mixed_pad,
        row < mixed,
        tl.where(
            gate < identity_pad,
            gate < plain,
            tl.where(gate_mixed < mixed_pad, gate_mixed < mixed, identity < plain),
        ),
    )
    return source, real


@triton.jit
def _pack_kernel(
    in_weight,  # (2 hidden, width)
    in_bias,  # (2 hidden,)
    norm_weight,  # (width,)
    norm_bias,  # (width,)
    out_weight,  # (width, hidden)
    w1,  # (rows, width_pad)
    b1,  # (rows,) float32
    w2,  # (width, identity_pad + mixed_pad)
    width,
    hidden,
    mixed,
    mixed_pad,
    identity_pad,
    width_pad,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A program packs ROWS rows of w1 with their biases, or of w2."""
    hidden_pad = mixed_pad + identity_pad
    num_rows = hidden_pad + hidden_pad
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if tl.program_id(0) * ROWS < num_rows:
        source, real = _source_rows(row, hidden, mixed, mixed_pad, identity_pad)
        bias = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, width_pad, COLUMNS):
            col = start + tl.arange(0, COLUMNS)
            inside = real[:, None] & (col < width)[None, :]
            w = tl.load(in_weight + source[:, None] * width + col[None, :], inside, 0.0)
            scale = tl.load(norm_weight + col, col < width, 0.0).to(tl.float32)
            shift = tl.load(norm_bias + col, col < width, 0.0).to(tl.float32)
            w = w.to(tl.float32)
            bias += w * shift[None, :]
            at = w1 + row[:, None] * width_pad + col[None, :]
            folded = (w * scale[None, :]).to(w1.dtype.element_ty)
            tl.store(at, folded, (row < num_rows)[:, None] & (col < width_pad)[None, :])
        total = tl.sum(bias, 1) + tl.load(in_bias + source, real, 0.0).to(tl.float32)
        tl.store(b1 + row, total, row < num_rows)
    else:
        row -= num_rows
        plain = hidden - mixed
        for start in range(0, hidden_pad, COLUMNS):
            col = start + tl.arange(0, COLUMNS)
            first = col < identity_pad
            source = tl.where(first, col, plain + col - identity_pad)
            real = tl.where(first, col < plain, col < identity_pad + mixed)
            inside = (row < width)[:, None] & real[None, :]
            w = tl.load(out_weight + row[:, None] * hidden + source[None, :], inside, 0.0)
            at = w2 + row[:, None] * hidden_pad + col[None, :]
            inside = (row < width)[:, None] & (col < hidden_pad)[None, :]
            tl.store(at, w.to(w2.dtype.element_ty), inside)


def pack(
    lay: Layout,
    dtype: torch.dtype,
    norm_weight: Tensor,
    norm_bias: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """w1 and b1 that project the normalised x to the layout's columns, and w2 (width, hidden).

    w1 = in_weight * norm_weight and w2 in dtype, b1 = in_bias + in_weight @ norm_bias in float32.
    """
    w1 = in_weight.new_empty(lay.convolved, lay.padded_width, dtype=dtype)
    b1 = in_weight.new_empty(lay.convolved, dtype=torch.float32)
    w2 = in_weight.new_empty(lay.width, lay.padded_hidden, dtype=dtype)
    programs = triton.cdiv(lay.convolved, ROWS) + triton.cdiv(lay.width, ROWS)
    _pack_kernel[(programs,)](
        in_weight, in_bias, norm_weight, norm_bias, out_weight, w1, b1, w2,
        lay.width, lay.hidden, lay.mixed, lay.padded_mixed, lay.padded_identity, lay.padded_width,
        ROWS=ROWS, COLUMNS=128,
    )  # fmt: skip
    return w1, b1, w2


@triton.jit
def _unpack_kernel(
    dw1,  # (splits, rows, width_pad) float32: partial sums
    db1,  # (splits, rows) float32
    in_weight,  # (2 hidden, width)
    norm_weight,  # (width,)
    norm_bias,  # (width,)
    din_weight,  # (2 hidden, width)
    din_bias,  # (2 hidden,)
    dnorm,  # (2, programs, width) float32: partial sums
    splits,
    width,
    hidden,
    mixed,
    mixed_pad,
    identity_pad,
    width_pad,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A program sums ROWS rows over the splits and undoes the fold."""
    num_rows = 2 * (mixed_pad + identity_pad)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    source, real = _source_rows(row, hidden, mixed, mixed_pad, identity_pad)
    real = real & (row < num_rows)
    bias = tl.zeros((ROWS,), tl.float32)
    for s in range(splits):
        bias += tl.load(db1 + s * num_rows + row, real, 0.0)
    tl.store(din_bias + source, bias.to(din_bias.dtype.element_ty), real)
    for start in range(0, width, COLUMNS):
        col = start + tl.arange(0, COLUMNS)
        inside = real[:, None] & (col < width)[None, :]
        total = tl.zeros((ROWS, COLUMNS), tl.float32)
        at = dw1 + row[:, None] * width_pad + col[None, :]
        for _ in range(splits):
            total += tl.load(at, inside, 0.0)
            at += num_rows * width_pad
        scale = tl.load(norm_weight + col, col < width, 0.0).to(tl.float32)
        shift = tl.load(norm_bias + col, col < width, 0.0).to(tl.float32)
        offset = source[:, None] * width + col[None, :]
        w = tl.load(in_weight + offset, inside, 0.0).to(tl.float32)
        grad = total * scale[None, :] + bias[:, None] * shift[None, :]
        tl.store(din_weight + offset, grad.to(din_weight.dtype.element_ty), inside)
        out = dnorm + tl.program_id(0) * width + col
        tl.store(out, tl.sum(w * total, 0), col < width)
        tl.store(out + tl.num_programs(0) * width, tl.sum(w * bias[:, None], 0), col < width)


def unpack_gradient(
    lay: Layout,
    dw1: Tensor,
    db1: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of norm_weight, norm_bias, in_weight and in_bias from those of w1 and b1.

    dw1: (splits, rows of w1, its columns), db1: (splits, rows), float32: summed over the splits.
    """
    din_weight, din_bias = torch.empty_like(in_weight), torch.empty_like(in_bias)
    programs = triton.cdiv(lay.convolved, ROWS)
    dnorm = dw1.new_empty(2, programs, lay.width)
    _unpack_kernel[(programs,)](
        dw1, db1, in_weight, norm_weight, norm_bias, din_weight, din_bias, dnorm, dw1.shape[0],
        lay.width, lay.hidden, lay.mixed, lay.padded_mixed, lay.padded_identity, lay.padded_width,
        ROWS=ROWS, COLUMNS=128,
    )  # fmt: skip
    dnorm_weight, dnorm_bias = (part.sum(0).to(norm_weight.dtype) for part in dnorm)
    return dnorm_weight, dnorm_bias, din_weight, din_bias
