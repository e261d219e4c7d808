"""The block's backward in Triton: the gate, the convolution, the norm, and the weights."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import configs
from .depthwise import convolve_backward
from .layout import Layout
from .triton_kernel import gelu_and_slope, unpack_gradient


@triton.jit(do_not_specialize=["tokens", "pixels"])
def _gate_backward_kernel(
    dout,  # (tokens, width)
    branch_scale,  # (images,), read if SCALED
    w2,  # (width, hidden_pad)
    z,  # (tokens, z_stride)
    dz,  # (tokens, z_stride)
    h,  # (tokens, hidden_pad)
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
    SCALED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """From dh = scale * dout @ w2: gradients of gate and gated; and h = gelu(gate) * gated."""
    num_n = tl.cdiv(hidden_pad, BLOCK_N)
    first = (tl.program_id(0) // num_n).to(tl.int64) * BLOCK_M
    n = (tl.program_id(0) % num_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    m = tl.arange(0, BLOCK_M)
    k = tl.arange(0, BLOCK_K)
    token = (m < tokens - first)[:, None]
    inside = token & (n < hidden_pad)[None, :]
    z_at = first * z_stride + m[:, None] * z_stride + n[None, :]
    # Asked for before the product, so that they arrive while it runs.
    g = tl.load(z + z_at + gate, inside, 0.0)
    y = tl.load(z + z_at + gated, inside, 0.0)
    if SCALED:
        s = tl.load(branch_scale + (first + m) // pixels, m < tokens - first, 0.0).to(tl.float32)
    d_at = dout + first * width + m[:, None] * width + k[None, :]
    w_at = w2 + k[:, None] * hidden_pad + n[None, :]
    dh = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, width, BLOCK_K):
        real = start + k < width
        d = tl.load(d_at + start, token & real[None, :], 0.0)
        if SCALED:
            d = d.to(tl.float32) * s[:, None]
        w = tl.load(w_at + start * hidden_pad, real[:, None] & (n < hidden_pad)[None, :], 0.0)
        dh = tl.dot(d.to(w2.dtype.element_ty), w, dh, input_precision=PRECISION)
    act, slope = gelu_and_slope(g.to(tl.float32))
    y = y.to(tl.float32)
    dtype = dz.dtype.element_ty
    tl.store(dz + z_at + gate, (dh * y * slope).to(dtype), inside)
    tl.store(dz + z_at + gated, (dh * act).to(dtype), inside)
    h_at = h + first * hidden_pad + m[:, None] * hidden_pad + n[None, :]
    tl.store(h_at, (act * y).to(dtype), inside)


@triton.jit(do_not_specialize=["tokens"])
def _norm_backward_kernel(
    dz,  # (tokens, z_stride), or if not PROJECT the gradient of normed, (tokens, width_pad)
    w1,  # (columns, width_pad)
    normed,  # (tokens, width_pad)
    rstd,  # (tokens,)
    dout,  # (tokens, width)
    dx,  # (tokens, width)
    tokens,
    width,
    width_pad,
    columns,
    z_stride,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,  # at least width_pad
    BLOCK_K: tl.constexpr,
    PROJECT: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """dx = dout + the norm's gradient of dn = dz @ w1, for BLOCK_M tokens.

    With n = (x - mean) / std that is (dn - mean(dn) - n mean(dn n)) / std, means over a token.
    """
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    n = tl.arange(0, BLOCK_N)
    m = tl.arange(0, BLOCK_M)
    token = (m < tokens - first)[:, None]
    padded = token & (n < width_pad)[None, :]
    row = first * width_pad + m[:, None] * width_pad + n[None, :]
    if PROJECT:
        k = tl.arange(0, BLOCK_K)
        dz_at = dz + first * z_stride + m[:, None] * z_stride + k[None, :]
        w_at = w1 + k[:, None] * width_pad + n[None, :]
        dn = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
        for start in range(0, columns, BLOCK_K):
            real = start + k < columns
            d = tl.load(dz_at + start, token & real[None, :], 0.0)
            w = tl.load(w_at + start * width_pad, real[:, None] & (n < width_pad)[None, :], 0.0)
            dn = tl.dot(d, w, dn, input_precision=PRECISION)
    else:
        dn = tl.load(dz + row, padded, 0.0).to(tl.float32)
    normal = tl.load(normed + row, padded, 0.0).to(tl.float32)
    scale = tl.load(rstd + first + m, m < tokens - first, 0.0)
    mean = tl.sum(dn, 1) / width
    slope = tl.sum(dn * normal, 1) / width
    grad = (dn - mean[:, None] - normal * slope[:, None]) * scale[:, None]
    at = first * width + m[:, None] * width + n[None, :]
    inside = token & (n < width)[None, :]
    grad += tl.load(dout + at, inside, 0.0).to(tl.float32)
    tl.store(dx + at, grad.to(dx.dtype.element_ty), inside)


@triton.jit(do_not_specialize=["tokens", "pixels", "chunk"])
def _weight_gradient_kernel(
    a,  # (tokens, a_stride), the first `rows` columns
    b,  # (tokens, b_stride), the first `columns`
    branch_scale,  # (images,), read if SCALED: a factor of a
    product,  # (splits, rows, columns) float32
    total,  # (splits, rows) float32
    tokens,
    rows,
    columns,
    a_stride,
    b_stride,
    pixels,
    chunk,  # tokens of a split
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    SCALED: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """a^T @ b and the column sums of a, over one split of the tokens."""
    num_n = tl.cdiv(columns, BLOCK_N)
    m = (tl.program_id(0) // num_n) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = (tl.program_id(0) % num_n) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    split = tl.program_id(1)
    first = split.to(tl.int64) * chunk
    num_tokens = tl.minimum(tokens - first, chunk).to(tl.int32)
    a_at = a + first * a_stride + k[:, None] * a_stride + m[None, :]
    b_at = b + first * b_stride + k[:, None] * b_stride + n[None, :]
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    sums = tl.zeros((BLOCK_K, BLOCK_M), tl.float32)
    for start in range(0, num_tokens, BLOCK_K):
        real = (start + k < num_tokens)[:, None]
        x = tl.load(a_at, real & (m < rows)[None, :], 0.0)
        y = tl.load(b_at, real & (n < columns)[None, :], 0.0)
        if SCALED:
            image = (first + start + k) // pixels
            s = tl.load(branch_scale + image, start + k < num_tokens, 0.0).to(tl.float32)
            x = x.to(tl.float32) * s[:, None]
        sums += x.to(tl.float32)
        acc = tl.dot(tl.trans(x.to(b.dtype.element_ty)), y, acc, input_precision=PRECISION)
        a_at += BLOCK_K * a_stride
        b_at += BLOCK_K * b_stride
    at = product + (split * rows + m[:, None]).to(tl.int64) * columns + n[None, :]
    tl.store(at, acc, (m < rows)[:, None] & (n < columns)[None, :])
    if tl.program_id(0) % num_n == 0:
        tl.store(total + split * rows + m, tl.sum(sums, 0), m < rows)


def backward(
    dout: Tensor,
    normed: Tensor,
    rstd: Tensor,
    z: Tensor,
    w1: Tensor,
    w2: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    branch_scale: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x and of the eight parameters, in the order of the forward's arguments."""
    lay = Layout(dout.shape[-1], out_weight.shape[1], conv_weight.shape[0])
    dz, h = _gate_backward(dout, w2, z, lay, branch_scale)
    dw2, db2 = _weight_gradient(dout, lay.width, h, lay.padded_hidden, branch_scale)
    del h
    dconv_weight, dconv_bias = convolve_backward(dz, z, lay, conv_weight, conv_bias)
    dx = _norm_backward(dz, w1, normed, rstd, dout, lay)
    dw1, db1 = _weight_gradient(dz, lay.convolved, normed, lay.padded_width, None)
    dnorm_weight, dnorm_bias, din_weight, din_bias = unpack_gradient(
        lay, dw1, db1, norm_weight, norm_bias, in_weight, in_bias
    )
    dout_weight = dw2.sum(0)
    if lay.padded_hidden != lay.hidden:
        plain, start = lay.hidden - lay.mixed, lay.padded_identity
        parts = dout_weight[:, :plain], dout_weight[:, start : start + lay.mixed]
        dout_weight = torch.cat(parts, dim=1)
    return (
        dx, dnorm_weight, dnorm_bias, din_weight, din_bias, dconv_weight, dconv_bias,
        dout_weight.to(out_weight.dtype), db2.sum(0).to(out_bias.dtype),
    )  # fmt: skip


def _gate_backward(
    dout: Tensor, w2: Tensor, z: Tensor, lay: Layout, branch_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """A matrix like z with the gradients of gate and gated, and h."""
    tokens = dout.numel() // lay.width
    dz, h = torch.empty_like(z), z.new_empty(tokens, lay.padded_hidden)
    config = configs.gate_backward(lay.width, z.itemsize)
    blocks = triton.cdiv(lay.padded_hidden, config.block_n)
    _gate_backward_kernel[(triton.cdiv(tokens, config.block_m) * blocks,)](
        dout, branch_scale, w2, z, dz, h,
        tokens, lay.width, lay.padded_hidden, lay.gate, lay.gated, lay.columns,
        z.shape[1] * z.shape[2],
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        SCALED=branch_scale is not None, PRECISION=configs.precision(z.dtype),
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return dz, h


def _norm_backward(
    dz: Tensor, w1: Tensor, normed: Tensor, rstd: Tensor, dout: Tensor, lay: Layout
) -> Tensor:
    """dx, the residual's part included."""
    tokens, fused = dout.numel() // lay.width, lay.width <= configs.FUSED_NORM_WIDTH
    dx, whole = torch.empty_like(dout), configs.power_of_two(lay.padded_width)
    config = configs.norm_backward(lay.width, w1.itemsize)
    if not fused:
        dz = torch.mm(dz.view(tokens, -1)[:, : lay.convolved], w1)
        config = configs.Config(max(1, 4096 // whole), whole, 16, num_warps=4)
    _norm_backward_kernel[(triton.cdiv(tokens, config.block_m),)](
        dz, w1, normed, rstd, dout, dx,
        tokens, lay.width, lay.padded_width, lay.convolved, lay.columns,
        BLOCK_M=config.block_m, BLOCK_N=whole, BLOCK_K=config.block_k, PROJECT=fused,
        PRECISION=configs.precision(w1.dtype),
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return dx


def _weight_gradient(
    a: Tensor, rows: int, b: Tensor, columns: int, branch_scale: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Partial sums over splits of the tokens: of a^T b (splits, rows, columns), and of a."""
    tokens, a_stride, b_stride = a.numel() // a.shape[-1], a.shape[-1], b.shape[-1]
    config = configs.weight_gradient(rows, columns, b.itemsize)
    tiles = triton.cdiv(rows, config.block_m) * triton.cdiv(columns, config.block_n)
    steps = triton.cdiv(tokens, config.block_k)
    chunk = triton.cdiv(steps, min(steps, configs.splits(tiles))) * config.block_k
    splits = triton.cdiv(tokens, chunk)
    product = a.new_empty(splits, rows, columns, dtype=torch.float32)
    total = a.new_empty(splits, rows, dtype=torch.float32)
    _weight_gradient_kernel[(tiles, splits)](
        a, b, branch_scale, product, total,
        tokens, rows, columns, a_stride, b_stride, a.shape[1] * a.shape[2], chunk,
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_K=config.block_k,
        SCALED=branch_scale is not None, PRECISION=configs.precision(b.dtype),
        num_warps=config.num_warps, num_stages=config.num_stages,
    )  # fmt: skip
    return product, total
