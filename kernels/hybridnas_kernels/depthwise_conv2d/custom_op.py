"""The operators hybridnas::depthwise_conv2d and its backward, and the gradient that ties them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..library import define


class DepthwiseConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        y: Tensor = torch.ops.hybridnas.depthwise_conv2d(x, weight, bias)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad
        found = torch.ops.hybridnas.depthwise_conv2d_backward(dy, *ctx.saved_tensors, *needed)
        return tuple(g if need else None for g, need in zip(found, needed, strict=True))


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    from .triton_kernel import forward

    return forward(x, weight, bias)


def _fake_forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


def _backward(
    dy: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool, need_bias: bool
) -> tuple[Tensor, ...]:
    from .triton_kernel import backward

    found = backward(dy, x, weight, need_x, need_weight, need_bias)
    return tuple(x.new_empty(0) if gradient is None else gradient for gradient in found)


def _fake_backward(
    dy: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool, need_bias: bool
) -> tuple[Tensor, ...]:
    return (
        x.new_empty(x.shape if need_x else 0),
        weight.new_empty(weight.shape if need_weight else 0),
        weight.new_empty(weight.shape[0] if need_bias else 0),
    )


def _flops(x_shape: torch.Size, weight_shape: torch.Size, *_: object, **__: object) -> int:
    """Two for each tap of each output."""
    return 2 * x_shape.numel() * weight_shape[2] * weight_shape[3]


def _backward_flops(
    dy_shape: torch.Size,
    x_shape: torch.Size,
    weight_shape: torch.Size,
    need_x: bool,
    need_weight: bool,
    *_: object,
    **__: object,
) -> int:
    return (need_x + need_weight) * _flops(x_shape, weight_shape)


define(
    "depthwise_conv2d(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    _forward,
    _fake_forward,
    _flops,
)
# Gradients of x, weight and bias; one that is not needed is a tensor of shape (0,).
define(
    "depthwise_conv2d_backward(Tensor dy, Tensor x, Tensor weight, bool need_x, bool need_weight, "
    "bool need_bias) -> (Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
    _backward_flops,
)
