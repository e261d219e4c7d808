"""The block's backward: the gate, the convolution, the norm, and the weights."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_launch import blocks_of, launch
from . import configs
from .depthwise import convolve_backward
from .layout import Layout, layout
from .triton_kernel import gelu_and_slope, token_scale, unpack_gradients


@triton.jit(do_not_specialize=["tokens", "pixels"])
def _gate_backward_kernel(
    h,  # (tokens, hidden_columns): read as dout @ w2, written
    branch_scale,  # (images,), read if SCALED
    z,  # (tokens, z_stride)
    dz,  # (tokens, z_stride)
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
    """Gradients of gate and gated; and h, which is scale * (gelu(gate) * gated | constant)."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    token = (m < tokens - first)[:, None]
    inside = token & (n < hidden_pad)[None, :]
    z_at = first * z_stride + m[:, None] * z_stride + n[None, :]
    h_at = h + first * hidden_columns + m[:, None] * hidden_columns + n[None, :]
    dh = tl.load(h_at, inside, 0.0).to(tl.float32)
    g = tl.load(z + z_at + gate, inside, 0.0).to(tl.float32)
    y = tl.load(z + z_at + gated, inside, 0.0).to(tl.float32)
    act, slope = gelu_and_slope(g)
    product = tl.where((n == hidden_pad)[None, :], 1.0, act * y)
    if SCALED:
        s = token_scale(branch_scale, first, m, tokens, pixels)
        dh *= s[:, None]
        product *= s[:, None]
    dtype = dz.dtype.element_ty
    tl.store(dz + z_at + gate, (dh * y * slope).to(dtype), inside)
    tl.store(dz + z_at + gated, (dh * act).to(dtype), inside)
    tl.store(h_at, product.to(dtype), token & (n < hidden_columns)[None, :])


@triton.jit(do_not_specialize=["tokens", "pixels"])
def _project_gate_backward_kernel(
    dout,  # (tokens, width)
    branch_scale,  # (images,), read if SCALED
    w2,  # (width, hidden_columns)
    z,  # (tokens, z_stride)
    dz,  # (tokens, z_stride)
    h,  # (tokens, hidden_columns)
    dbranch,  # (tokens, width), written if CAST: dout in the dtype of products
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
    BLOCK_D: tl.constexpr,  # at least width
    SCALED: tl.constexpr,
    CAST: tl.constexpr,
    PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):
    """As _gate_backward_kernel, dout @ w2 included, for BLOCK_M tokens whose dout stays on chip."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    d = tl.arange(0, BLOCK_D)
    token = (m < tokens - first)[:, None]
    at = first * width + m[:, None] * width + d[None, :]
    inside = token & (d < width)[None, :]
    dtype = dz.dtype.element_ty
    a = tl.load(dout + at, inside, 0.0).to(dtype)
    if CAST:
        tl.store(dbranch + at, a, inside)
    s = tl.full((BLOCK_M,), 1.0, tl.float32)
    if SCALED:
        s = token_scale(branch_scale, first, m, tokens, pixels)
    z += first * z_stride
    dz += first * z_stride
    h += first * hidden_columns
    for start in tl.range(0, hidden_pad, BLOCK_N, num_stages=STAGES):
        n = start + tl.arange(0, BLOCK_N)
        inside_w = (d < width)[:, None] & (n < hidden_pad)[None, :]
        w = tl.load(w2 + d[:, None] * hidden_columns + n[None, :], inside_w, 0.0)
        inside_z = token & (n < hidden_pad)[None, :]
        z_at = m[:, None] * z_stride + n[None, :]
        g = tl.load(z + z_at + gate, inside_z, 0.0).to(tl.float32)
        y = tl.load(z + z_at + gated, inside_z, 0.0).to(tl.float32)
        dh = tl.dot(a, w, input_precision=PRECISION)
        act, slope = gelu_and_slope(g)
        product = act * y
        if SCALED:
            dh *= s[:, None]
            product *= s[:, None]
        tl.store(dz + z_at + gate, (dh * y * slope).to(dtype), inside_z)
        tl.store(dz + z_at + gated, (dh * act).to(dtype), inside_z)
        tl.store(h + m[:, None] * hidden_columns + n[None, :], product.to(dtype), inside_z)
    rest = hidden_pad + tl.arange(0, 16)
    constant = tl.where((rest == hidden_pad)[None, :], s[:, None], 0.0).to(dtype)
    tl.store(h + m[:, None] * hidden_columns + rest[None, :], constant, token)


@triton.jit(do_not_specialize=["tokens"])
def _norm_backward_kernel(
    dn,  # (tokens, width): the gradient of normed
    normed,  # (tokens, normed_columns)
    rstd,  # (tokens,)
    dout,  # (tokens, width)
    dx,  # (tokens, width)
    tokens,
    width,
    normed_columns,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,  # at least width
):
    """dx = dout + (dn - mean(dn) - n mean(dn n)) / std, n the normalised x, means over a token."""
    first = tl.program_id(0).to(tl.int64) * BLOCK_M
    m = tl.arange(0, BLOCK_M)
    n = tl.arange(0, BLOCK_N)
    inside = (m < tokens - first)[:, None] & (n < width)[None, :]
    at = first * width + m[:, None] * width + n[None, :]
    normal_at = normed + first * normed_columns + m[:, None] * normed_columns + n[None, :]
    grad = tl.load(dn + at, inside, 0.0).to(tl.float32)
    normal = tl.load(normal_at, inside, 0.0).to(tl.float32)
    residual = tl.load(dout + at, inside, 0.0).to(tl.float32)
    scale = tl.load(rstd + first + m, m < tokens - first, 0.0)
    mean = tl.sum(grad, 1) / width
    slope = tl.sum(grad * normal, 1) / width
    grad = (grad - mean[:, None] - normal * slope[:, None]) * scale[:, None] + residual
    tl.store(dx + at, grad.to(dx.dtype.element_ty), inside)


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
) -> tuple[Tensor, ...]:
    """Gradients of x, norm_weight and norm_bias (as one tensor), and the other six parameters."""
    lay = layout(dout.shape[-1], out_weight.shape[1], conv_weight.shape[0])
    step = _project_gate_backward if lay.width <= configs.FUSED_WIDTH else _gate_backward
    dz, h, dbranch = step(dout.view(-1, lay.width), w2, z, branch_scale, lay)
    dw2 = _product(dbranch.t(), h)
    del h, dbranch
    dconv_weight, dconv_bias = convolve_backward(dz, z, lay, conv_weight, conv_bias)
    flat = dz.view(-1, lay.columns)[:, : lay.convolved]
    dx = _norm_backward(torch.mm(flat, w1[:, : lay.width]), normed, rstd, dout, lay)
    dw1 = _product(flat.t(), normed)
    linear = norm_weight, norm_bias, in_weight, in_bias, out_weight, out_bias
    dnorm, din_weight, din_bias, dout_weight, dout_bias = unpack_gradients(lay, dw1, dw2, *linear)
    return dx, dnorm, din_weight, din_bias, dconv_weight, dconv_bias, dout_weight, dout_bias


def _gate_backward(
    dout: Tensor, w2: Tensor, z: Tensor, branch_scale: Tensor | None, lay: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """A matrix like z with the gradients of gate and gated; h, as the second product read it; and
    dout in the dtype of products."""
    tokens, config, dbranch = len(dout), configs.gate(lay.hidden), dout.to(z.dtype)
    dz, h = torch.empty_like(z), z.new_empty(tokens, lay.hidden_columns)
    torch.mm(dbranch, w2[:, : lay.padded_hidden], out=h[:, : lay.padded_hidden])
    grid = blocks_of(tokens, config.block_m), blocks_of(lay.hidden_columns, config.block_n)
    launch(
        _gate_backward_kernel, grid,
        h, branch_scale, z, dz,
        tokens, lay.padded_hidden, lay.hidden_columns, lay.gate, lay.gated, lay.columns,
        z.shape[1] * z.shape[2],
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, SCALED=branch_scale is not None,
        num_warps=config.num_warps,
    )  # fmt: skip
    return dz, h, dbranch


def _project_gate_backward(
    dout: Tensor, w2: Tensor, z: Tensor, branch_scale: Tensor | None, lay: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """What _gate_backward returns, in one kernel."""
    tokens, config, cast = len(dout), configs.gate_backward(z.itemsize), dout.dtype != z.dtype
    dz, h = torch.empty_like(z), z.new_empty(tokens, lay.hidden_columns)
    dbranch = torch.empty_like(dout, dtype=z.dtype) if cast else dout
    launch(
        _project_gate_backward_kernel, (blocks_of(tokens, config.block_m),),
        dout, branch_scale, w2, z, dz, h, dbranch,
        tokens, lay.width, lay.padded_hidden, lay.hidden_columns, lay.gate, lay.gated, lay.columns,
        z.shape[1] * z.shape[2],
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, BLOCK_D=configs.power_of_two(lay.width),
        SCALED=branch_scale is not None, CAST=cast, PRECISION=configs.precision(z.dtype),
        STAGES=config.num_stages, num_warps=config.num_warps,
    )  # fmt: skip
    return dz, h, dbranch


def _norm_backward(dn: Tensor, normed: Tensor, rstd: Tensor, dout: Tensor, lay: Layout) -> Tensor:
    """dx, the residual's part included."""
    dx, config = torch.empty_like(dout), configs.rows(lay.width)
    launch(
        _norm_backward_kernel, (blocks_of(len(dn), config.block_m),),
        dn, normed, rstd, dout, dx, len(dn), lay.width, lay.normed_columns,
        BLOCK_M=config.block_m, BLOCK_N=config.block_n, num_warps=config.num_warps,
    )  # fmt: skip
    return dx


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in float32, also of 16-bit numbers."""
    if a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a, b).float()
