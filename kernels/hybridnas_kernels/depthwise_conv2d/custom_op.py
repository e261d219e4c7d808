"""The operators hybridnas::depthwise_conv2d and its backward, as torch.library knows them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils.flop_counter import register_flop_formula


@torch.library.custom_op("hybridnas::depthwise_conv2d", mutates_args=())
def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    from .triton_kernel import forward

    return forward(x, weight, bias)


@torch.library.custom_op("hybridnas::depthwise_conv2d_backward", mutates_args=())
def depthwise_conv2d_backward(
    dy: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool, need_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias; one that is not needed is a tensor of shape (0,)."""
    from .triton_kernel import backward

    found = backward(dy, x, weight, need_x, need_weight, need_bias)
    dx, dweight, dbias = (x.new_empty(0) if gradient is None else gradient for gradient in found)
    return dx, dweight, dbias


@depthwise_conv2d.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)


@depthwise_conv2d_backward.register_fake
def _(
    dy: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_weight: bool, need_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        x.new_empty(x.shape if need_x else 0),
        weight.new_empty(weight.shape if need_weight else 0),
        weight.new_empty(weight.shape[0] if need_bias else 0),
    )


def _setup_context(
    ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor
) -> None:
    x, weight, _bias = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
    need_x, need_weight, need_bias = ctx.needs_input_grad  # type: ignore[attr-defined]
    dx, dweight, dbias = depthwise_conv2d_backward(dy, x, weight, need_x, need_weight, need_bias)
    return dx if need_x else None, dweight if need_weight else None, dbias if need_bias else None


depthwise_conv2d.register_autograd(_backward, setup_context=_setup_context)


def _flops(x_shape: torch.Size, weight_shape: torch.Size) -> int:
    """Two for each tap of each output."""
    return 2 * x_shape.numel() * weight_shape[2] * weight_shape[3]


@register_flop_formula(torch.ops.hybridnas.depthwise_conv2d)
def _forward_flops(x_shape: torch.Size, weight_shape: torch.Size, *_: object, **__: object) -> int:
    return _flops(x_shape, weight_shape)


@register_flop_formula(torch.ops.hybridnas.depthwise_conv2d_backward)
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
