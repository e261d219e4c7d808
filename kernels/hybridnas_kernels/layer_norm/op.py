"""The door to layer norm: checks the arguments, then runs an implementation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .. import backends
from ..library import define
from .reference import layer_norm_reference


def layer_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-6,
    dtype: torch.dtype | None = None,
    *,
    backend: str | None = None,
) -> Tensor:
    """Layer norm over the last axis (Ba et al. 2016, arXiv 1607.06450): F.layer_norm.

    x: (..., width), weight and bias: (width,). The result has x's shape; dtype: of the result,
    None for what F.layer_norm gives, float32 under torch.autocast. Computed in float32 in any
    case. Differentiable once. backend: "triton", "torch", or what HYBRIDNAS_KERNELS says
    (backends.choose). Shapes that do not fit raise ValueError.

    PyTorch's kernel gives a row to a block of threads, most of which idle where rows are as short
    as those of a map's first stages.
    """
    if x.dim() == 0 or x.shape[-1] == 0:
        raise ValueError(f"x must be (..., width) with a width above 0, got {tuple(x.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} must be (width,) = ({x.shape[-1]},), got {tuple(tensor.shape)}"
            )
    if dtype is None:
        dtype = x.dtype if backends.autocast_dtype(x) is None else torch.float32
    if x.numel() == 0 or backends.choose("layer_norm", backend, x) == "torch":
        return layer_norm_reference(x, weight, bias, eps, dtype)
    out: Tensor = _LayerNorm.apply(
        x.contiguous(), weight.contiguous(), bias.contiguous(), eps, dtype
    )
    return out


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
    ) -> Tensor:
        y: Tensor
        y, mean, rstd = torch.ops.hybridnas.layer_norm(x, weight, bias, eps, dtype)
        ctx.save_for_backward(x, weight, mean, rstd)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        dx, dparameters = torch.ops.hybridnas.layer_norm_backward(
            dy.contiguous(), *ctx.saved_tensors
        )
        return dx, dparameters[0], dparameters[1], None, None


def _forward(*inputs: Any) -> tuple[Tensor, ...]:
    from .triton_kernel import forward

    return forward(*inputs)


def _backward(*inputs: Any) -> tuple[Tensor, ...]:
    from .triton_kernel import backward

    return backward(*inputs)


def _fake_forward(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    rows = x.numel() // x.shape[-1]
    y = torch.empty_like(x, dtype=dtype)
    return (y, *(x.new_empty(rows, dtype=torch.float32) for _ in range(2)))


def _fake_backward(
    dy: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor
) -> tuple[Tensor, ...]:
    return torch.empty_like(x), weight.new_empty(2, *weight.shape)


define(
    "layer_norm(Tensor x, Tensor weight, Tensor bias, float eps, ScalarType dtype) -> "
    "(Tensor y, Tensor mean, Tensor rstd)",
    _forward,
    _fake_forward,
)
define(
    "layer_norm_backward(Tensor dy, Tensor x, Tensor weight, Tensor mean, Tensor rstd) -> "
    "(Tensor dx, Tensor dparameters)",
    _backward,
    _fake_backward,
)
