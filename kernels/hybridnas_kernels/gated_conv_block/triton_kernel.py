"""What forward and backward share: the gate's function, and the weights as their products read
them, with the norm's affine map folded in (kernels/README.md), and back to their gradients."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_launch import blocks_of, launch
from .layout import Layout

ROWS, COLUMNS = 16, 128  # what a program of the packing kernels takes of a weight at a time


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
def token_scale(branch_scale, first, m, tokens, pixels):
    """The factors of the images of tokens first + m. 32 bits count tokens; more is slow here."""
    token = first.to(tl.int32) + m
    return tl.load(branch_scale + token // pixels, token < tokens, 0.0).to(tl.float32)


@triton.jit
def _source_rows(row, hidden, mixed, mixed_pad, identity_pad):
    """Which row of in_weight a row of w1 is, and whether it is one at all."""
    plain = hidden - mixed
    gate = row - mixed_pad
    gate_mixed = gate - identity_pad
    identity = gate_mixed - mixed_pad
    source = tl.where(gate_mixed < mixed_pad, plain + gate_mixed, hidden + identity)
    source = tl.where(gate < identity_pad, gate, source)
    source = tl.where(row < mixed_pad, hidden + plain + row, source)
    real = tl.where(gate_mixed < mixed_pad, gate_mixed < mixed, identity < plain)
    real = tl.where(gate < identity_pad, gate < plain, real)
    real = tl.where(row < mixed_pad, row < mixed, real)
    return source, real


@triton.jit
def _source_columns(col, hidden, mixed, identity_pad):
    """Which column of out_weight a column of w2 is, and whether it is one at all."""
    plain = hidden - mixed
    first = col < identity_pad
    source = tl.where(first, col, plain + col - identity_pad)
    return source, tl.where(first, col < plain, col < identity_pad + mixed)


@triton.jit(do_not_specialize=["hidden", "mixed"])  # else one for each multiple of 16 and not
def _pack_kernel(
    norm_weight,  # (width,)
    norm_bias,  # (width,)
    in_weight,  # (2 hidden, width)
    in_bias,  # (2 hidden,)
    out_weight,  # (width, hidden)
    out_bias,  # (width,)
    w1,  # (2 hidden_pad, normed_columns)
    w2,  # (width, hidden_columns)
    width,
    hidden,
    mixed,
    mixed_pad,
    identity_pad,
    normed_columns,
    hidden_columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A program packs ROWS rows of w1, or of w2."""
    hidden_pad = mixed_pad + identity_pad
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if tl.program_id(0) * ROWS < 2 * hidden_pad:
        source, real = _source_rows(row, hidden, mixed, mixed_pad, identity_pad)
        shifted = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, width, COLUMNS):
            col = start + tl.arange(0, COLUMNS)
            inside = real[:, None] & (col < width)[None, :]
            w = tl.load(in_weight + source[:, None] * width + col[None, :], inside, 0.0)
            scale = tl.load(norm_weight + col, col < width, 0.0).to(tl.float32)
            shift = tl.load(norm_bias + col, col < width, 0.0).to(tl.float32)
            w = w.to(tl.float32)
            shifted += w * shift[None, :]
            at = w1 + row[:, None] * normed_columns + col[None, :]
            folded = (w * scale[None, :]).to(w1.dtype.element_ty)
            tl.store(at, folded, (row < 2 * hidden_pad)[:, None] & (col < width)[None, :])
        bias = tl.sum(shifted, 1) + tl.load(in_bias + source, real, 0.0).to(tl.float32)
        rest = width + tl.arange(0, 16)
        values = tl.where((rest == width)[None, :], bias[:, None], 0.0).to(w1.dtype.element_ty)
        inside = (row < 2 * hidden_pad)[:, None] & (rest < normed_columns)[None, :]
        tl.store(w1 + row[:, None] * normed_columns + rest[None, :], values, inside)
    else:
        row -= 2 * hidden_pad
        bias = tl.load(out_bias + row, row < width, 0.0).to(tl.float32)
        for start in range(0, hidden_columns, COLUMNS):
            col = start + tl.arange(0, COLUMNS)
            source, real = _source_columns(col, hidden, mixed, identity_pad)
            inside = (row < width)[:, None] & real[None, :]
            w = tl.load(out_weight + row[:, None] * hidden + source[None, :], inside, 0.0)
            w = tl.where((col == hidden_pad)[None, :], bias[:, None], w.to(tl.float32))
            at = w2 + row[:, None] * hidden_columns + col[None, :]
            inside = (row < width)[:, None] & (col < hidden_columns)[None, :]
            tl.store(at, w.to(w2.dtype.element_ty), inside)


def pack(lay: Layout, dtype: torch.dtype, *parameters: Tensor) -> tuple[Tensor, Tensor]:
    """w1 and w2 in dtype, which the constant's column makes complete with their biases.

    w1 (columns of the projection, normed_columns) takes the normalised input, before the norm's
    affine map: in_weight * norm_weight, and for the constant in_bias + in_weight @ norm_bias.
    w2 (width, hidden_columns) is out_weight, and out_bias for the constant.

    parameters: norm_weight, norm_bias, in_weight, in_bias, out_weight, out_bias.
    """
    w1 = parameters[0].new_empty(lay.convolved, lay.normed_columns, dtype=dtype)
    w2 = parameters[0].new_empty(lay.width, lay.hidden_columns, dtype=dtype)
    launch(
        _pack_kernel, _grid(lay),
        *parameters, w1, w2,
        lay.width, lay.hidden, lay.mixed, lay.padded_mixed, lay.padded_identity,
        lay.normed_columns, lay.hidden_columns, ROWS=ROWS, COLUMNS=COLUMNS,
    )  # fmt: skip
    return w1, w2


@triton.jit(do_not_specialize=["hidden", "mixed"])  # else one for each multiple of 16 and not
def _unpack_kernel(
    dw1,  # (2 hidden_pad, normed_columns) float32
    dw2,  # (width, hidden_columns) float32
    norm_weight,  # (width,)
    norm_bias,  # (width,)
    in_weight,  # (2 hidden, width)
    dnorm,  # (2, programs of w1, width) float32: partial sums
    din_weight,  # (2 hidden, width)
    din_bias,  # (2 hidden,)
    dout_weight,  # (width, hidden)
    dout_bias,  # (width,)
    width,
    hidden,
    mixed,
    mixed_pad,
    identity_pad,
    normed_columns,
    hidden_columns,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """A program undoes for ROWS rows what _pack_kernel does."""
    hidden_pad = mixed_pad + identity_pad
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if tl.program_id(0) * ROWS < 2 * hidden_pad:
        source, real = _source_rows(row, hidden, mixed, mixed_pad, identity_pad)
        real = real & (row < 2 * hidden_pad)
        bias = tl.load(dw1 + row * normed_columns + width, real, 0.0)
        tl.store(din_bias + source, bias.to(din_bias.dtype.element_ty), real)
        for start in range(0, width, COLUMNS):
            col = start + tl.arange(0, COLUMNS)
            inside = real[:, None] & (col < width)[None, :]
            folded = tl.load(dw1 + row[:, None] * normed_columns + col[None, :], inside, 0.0)
            scale = tl.load(norm_weight + col, col < width, 0.0).to(tl.float32)
            shift = tl.load(norm_bias + col, col < width, 0.0).to(tl.float32)
            at = source[:, None] * width + col[None, :]
            w = tl.load(in_weight + at, inside, 0.0).to(tl.float32)
            grad = folded * scale[None, :] + bias[:, None] * shift[None, :]
            tl.store(din_weight + at, grad.to(din_weight.dtype.element_ty), inside)
            part = dnorm + tl.program_id(0) * width + col
            tl.store(part, tl.sum(w * folded, 0), col < width)
            part += tl.cdiv(2 * hidden_pad, ROWS) * width
            tl.store(part, tl.sum(w * bias[:, None], 0), col < width)
    else:
        row -= 2 * hidden_pad
        bias = tl.load(dw2 + row * hidden_columns + hidden_pad, row < width, 0.0)
        tl.store(dout_bias + row, bias.to(dout_bias.dtype.element_ty), row < width)
        for start in range(0, hidden_pad, COLUMNS):
            col = start + tl.arange(0, COLUMNS)
            source, real = _source_columns(col, hidden, mixed, identity_pad)
            inside = (row < width)[:, None] & real[None, :]
            grad = tl.load(dw2 + row[:, None] * hidden_columns + col[None, :], inside, 0.0)
            at = dout_weight + row[:, None] * hidden + source[None, :]
            tl.store(at, grad.to(dout_weight.dtype.element_ty), inside)


def unpack_gradients(
    lay: Layout, dw1: Tensor, dw2: Tensor, *parameters: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of pack's parameters from those of w1 and w2, which are float32; those of
    norm_weight and norm_bias as one tensor (2, width)."""
    norm_weight, norm_bias, in_weight = parameters[:3]
    rest = [torch.empty_like(parameter) for parameter in parameters[2:]]
    dnorm = dw1.new_empty(2, blocks_of(lay.convolved, ROWS), lay.width)
    launch(
        _unpack_kernel, _grid(lay),
        dw1, dw2, norm_weight, norm_bias, in_weight, dnorm, *rest,
        lay.width, lay.hidden, lay.mixed, lay.padded_mixed, lay.padded_identity,
        lay.normed_columns, lay.hidden_columns, ROWS=ROWS, COLUMNS=COLUMNS,
    )  # fmt: skip
    return (dnorm.sum(1).to(norm_weight.dtype), *rest)


def _grid(lay: Layout) -> tuple[int]:
    return (blocks_of(lay.convolved, ROWS) + blocks_of(lay.width, ROWS),)
