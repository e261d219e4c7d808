"""The door to the depthwise convolution: checks, casts, picks an implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from ..backends import autocast_dtype, choose
from .custom_op import DepthwiseConv2d
from .reference import depthwise_conv2d_reference

DEPTHWISE_KERNELS = range(3, 14, 2)
"""Sides of the convolutions that it computes."""


def depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, backend: str | None = None
) -> Tensor:
    """Each channel of a channels-last map convolved with its own k x k filter; the size is kept.

        y[b, i, j, c] = bias[c] + sum over p, q of weight[c, 0, p, q] x[b, i + p - r, j + q - r, c]

    with r = k // 2 and zeros outside the map: nn.Conv2d(C, C, k, padding=r, groups=C) on a map
    whose channels come last.

    x: (B, H, W, C), any strides; read in place if its channels lie next to each other, as in a
    slice of the channels of a wider tensor, else copied first. weight: (C, 1, k, k), as
    nn.Conv2d keeps it, k odd and 3 to 13. bias: (C,).

    Returns (B, H, W, C), contiguous, in x's dtype. Sums are float32 or wider. Under
    torch.autocast it computes in autocast's dtype, as conv2d does. Differentiable once in x,
    weight and bias; the same inputs always give the same bits.

    backend: "auto", "triton" or "torch"; None: the environment variable HYBRIDNAS_KERNELS, else
    "auto". A forced one that cannot run raises RuntimeError, arguments that do not fit
    ValueError.
    """
    _check_shapes(x, weight, bias)
    x, weight = _autocast(x), _autocast(weight)
    bias = None if bias is None else _autocast(bias)
    for name, given in {"weight": weight, "bias": bias}.items():
        if given is not None and (given.dtype, given.device) != (x.dtype, x.device):
            raise ValueError(
                f"depthwise_conv2d: {name} must be {x.dtype} on {x.device} as x is, "
                f"got {given.dtype} on {given.device}"
            )
    if choose("depthwise_conv2d", backend, x) == "torch":
        return depthwise_conv2d_reference(x, weight, bias)
    y: Tensor = DepthwiseConv2d.apply(x, weight, bias)
    return y


def _check_shapes(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() != 4:
        raise ValueError(f"depthwise_conv2d: x must be (B, H, W, C), got {tuple(x.shape)}")
    channels = x.shape[-1]
    got = tuple(weight.shape)
    if (
        len(got) != 4
        or got[:2] != (channels, 1)
        or got[2] != got[3]
        or got[2] not in DEPTHWISE_KERNELS
    ):
        raise ValueError(
            f"depthwise_conv2d: weight must be (C, 1, k, k) with C = {channels} and k one of "
            f"{', '.join(map(str, DEPTHWISE_KERNELS))}; got {got}"
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(
            f"depthwise_conv2d: bias must be (C,) = ({channels},), got {tuple(bias.shape)}"
        )


def _autocast(x: Tensor) -> Tensor:
    """x as autocast would hand it to a convolution."""
    dtype = autocast_dtype(x)
    return x if dtype is None or x.dtype == torch.float64 else x.to(dtype)
