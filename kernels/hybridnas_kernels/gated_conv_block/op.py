"""The door to the Gated CNN block: checks the arguments, then runs an implementation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .. import backends
from ..library import define
from .layout import Layout
from .reference import gated_conv_block_reference

Shape = tuple[int, ...]


def gated_conv_block(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    eps: float,
    in_weight: Tensor,
    in_bias: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    out_weight: Tensor,
    out_bias: Tensor,
    branch_scale: Tensor | None = None,
    layer_scale: Tensor | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """The Gated CNN block of MambaOut (Yu & Wang, CVPR 2025, arXiv 2405.07992, eq. 8-11).

        n       = LayerNorm(x; norm_weight, norm_bias, eps)
        g, i, c = split(n @ in_weight^T + in_bias, [hidden, hidden - mixed, mixed])
        y       = concat(i, depthwise_conv(c) + conv_bias)
        out     = x + layer_scale * branch_scale * ((gelu(g) * y) @ out_weight^T + out_bias)

    x: (B, H, W, width), channels last. norm_weight, norm_bias, out_bias, layer_scale: (width,).
    in_weight: (2 hidden, width), in_bias: (2 hidden,), out_weight: (width, hidden).
    conv_weight: (mixed, 1, kh, kw), kh and kw odd, mixed <= hidden; zeros surround the map.
    conv_bias: (mixed,) or None. branch_scale: (B,), a factor an image, without a gradient (drop
    path: 0 or 1 / keep). The GELU is the exact one, of the error function.

    Returns out, in x's shape and dtype. Norm and residual are computed in float32 and the
    products in torch.autocast's dtype, or else x's. Differentiable once, in x, all parameters and
    layer_scale. backend: "triton", "torch", or what HYBRIDNAS_KERNELS says (backends.choose).
    Shapes that do not fit raise ValueError.
    """
    _check(
        x, norm_weight, norm_bias, in_weight, in_bias, conv_weight, conv_bias, out_weight,
        out_bias, branch_scale, layer_scale,
    )  # fmt: skip
    if layer_scale is not None:  # a factor of the branch's channels is one of its projection's
        out_weight, out_bias = out_weight * layer_scale[:, None], out_bias * layer_scale
    if conv_bias is None:
        conv_bias = conv_weight.new_zeros(conv_weight.shape[0])
    if backends.choose("gated_conv_block", backend, x) == "torch":
        return gated_conv_block_reference(
            x, norm_weight, norm_bias, eps, in_weight, in_bias, conv_weight, conv_bias,
            out_weight, out_bias, branch_scale,
        )  # fmt: skip
    dtype = backends.autocast_dtype(x) or x.dtype
    scale = None if branch_scale is None else branch_scale.detach().contiguous()
    parameters = norm_weight, norm_bias, in_weight, in_bias, conv_weight, conv_bias
    out: Tensor = _Block.apply(
        x.contiguous(), *(p.contiguous() for p in (*parameters, out_weight, out_bias)), scale, eps,
        dtype,
    )  # fmt: skip
    return out


class _Block(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        out, *kept = torch.ops.hybridnas.gated_conv_block(*inputs)
        ctx.save_for_backward(*kept, *inputs[1:10])
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        dx, dnorm, *rest = torch.ops.hybridnas.gated_conv_block_backward(
            dout.contiguous(), *ctx.saved_tensors
        )
        return (dx, dnorm[0], dnorm[1], *rest, None, None, None)


_PARAMETERS = (
    "Tensor norm_weight, Tensor norm_bias, Tensor in_weight, Tensor in_bias, Tensor conv_weight, "
    "Tensor conv_bias, Tensor out_weight, Tensor out_bias, Tensor? branch_scale"
)


def _forward(*inputs: Any) -> tuple[Tensor, ...]:
    from .triton_forward import forward

    return forward(*inputs)


def _backward(*inputs: Any) -> tuple[Tensor, ...]:
    from .triton_backward import backward

    return backward(*inputs)


def _fake_forward(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    conv_weight, out_weight, dtype = rest[4], rest[6], rest[10]
    lay = Layout(x.shape[-1], out_weight.shape[1], conv_weight.shape[0])
    tokens = x.shape[0] * x.shape[1] * x.shape[2]
    return (
        torch.empty_like(x),
        x.new_empty(tokens, lay.normed_columns, dtype=dtype),
        x.new_empty(tokens, dtype=torch.float32),
        x.new_empty(*x.shape[:-1], lay.columns, dtype=dtype),
        x.new_empty(lay.convolved, lay.normed_columns, dtype=dtype),
        x.new_empty(lay.width, lay.hidden_columns, dtype=dtype),
    )


def _fake_backward(dout: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    norm_weight, *others = rest[5:6] + rest[7:13]
    dnorm = norm_weight.new_empty(2, *norm_weight.shape)
    return (torch.empty_like(dout), dnorm, *(torch.empty_like(p) for p in others))


def _flops(x: Shape, *shapes: Any, **_: Any) -> int:
    in_weight, conv_weight, out_weight = shapes[2], shapes[4], shapes[6]
    macs_a_token = sum(math.prod(weight) for weight in (in_weight, conv_weight, out_weight))
    return 2 * math.prod(x[:3]) * macs_a_token


def _backward_flops(dout: Shape, *shapes: Any, **_: Any) -> int:
    return 2 * _flops(dout, *shapes[5:])


define(
    f"gated_conv_block(Tensor x, {_PARAMETERS}, float eps, ScalarType dtype) -> "
    "(Tensor out, Tensor normed, Tensor rstd, Tensor z, Tensor w1, Tensor w2)",
    _forward,
    _fake_forward,
    _flops,
)
define(
    "gated_conv_block_backward(Tensor dout, Tensor normed, Tensor rstd, Tensor z, Tensor w1, "
    f"Tensor w2, {_PARAMETERS}) -> (Tensor dx, Tensor dnorm, Tensor din_weight, Tensor din_bias, "
    "Tensor dconv_weight, Tensor dconv_bias, Tensor dout_weight, Tensor dout_bias)",
    _backward,
    _fake_backward,
    _backward_flops,
)


def _check(
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
    layer_scale: Tensor | None,
) -> None:
    if x.dim() != 4 or 0 in x.shape:
        raise ValueError(f"x must be (B, H, W, width), none of them 0, got {tuple(x.shape)}")
    if out_weight.dim() != 2 or 0 in out_weight.shape:
        raise ValueError(f"out_weight must be (width, hidden), got {tuple(out_weight.shape)}")
    width, hidden, kernel = x.shape[-1], out_weight.shape[1], conv_weight.shape
    if len(kernel) != 4 or kernel[1] != 1 or kernel[2] % 2 == 0 or kernel[3] % 2 == 0:
        raise ValueError(
            f"conv_weight must be (mixed, 1, kh, kw) with odd kh and kw, got {tuple(kernel)}"
        )
    mixed = kernel[0]
    if not 1 <= mixed <= hidden:
        raise ValueError(f"conv_weight must have 1 to hidden = {hidden} channels, got {mixed}")
    expected: list[tuple[str, Tensor | None, str, Shape]] = [
        ("norm_weight", norm_weight, "(width,)", (width,)),
        ("norm_bias", norm_bias, "(width,)", (width,)),
        ("in_weight", in_weight, "(2 hidden, width)", (2 * hidden, width)),
        ("in_bias", in_bias, "(2 hidden,)", (2 * hidden,)),
        ("conv_bias", conv_bias, "(mixed,)", (mixed,)),
        ("out_weight", out_weight, "(width, hidden)", (width, hidden)),
        ("out_bias", out_bias, "(width,)", (width,)),
        ("branch_scale", branch_scale, "(B,)", (x.shape[0],)),
        ("layer_scale", layer_scale, "(width,)", (width,)),
    ]
    for name, tensor, layout, shape in expected:
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} must be {layout} = {shape}, got {tuple(tensor.shape)}")
    for name, tensor in (("x", x), ("conv_weight", conv_weight), *(e[:2] for e in expected)):
        if tensor is not None and not tensor.is_floating_point():
            raise ValueError(f"{name} must hold real floating-point numbers, got {tensor.dtype}")
