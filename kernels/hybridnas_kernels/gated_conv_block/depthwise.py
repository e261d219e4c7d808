"""The block's convolution on slices of its matrices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .layout import Layout


def convolve(z: Tensor, lay: Layout, weight: Tensor, bias: Tensor) -> None:
    """Fills the last columns of z (B, H, W, columns) with the convolution of its first."""
    weight, bias = _padded(weight, lay).to(z.dtype), _padded(bias, lay).to(z.dtype)
    padding = weight.shape[-2] // 2, weight.shape[-1] // 2
    c = z[..., : lay.padded_mixed].permute(0, 3, 1, 2)
    y = F.conv2d(c, weight, bias, padding=padding, groups=lay.padded_mixed)
    z[..., lay.convolved :] = y.permute(0, 2, 3, 1)


def convolve_backward(
    dz: Tensor, z: Tensor, lay: Layout, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Fills the first columns of dz from its last; returns the gradients of weight and bias."""
    padded = _padded(weight, lay).to(z.dtype)
    dc, dweight, dbias = torch.ops.aten.convolution_backward(
        dz[..., lay.convolved :].permute(0, 3, 1, 2),
        z[..., : lay.padded_mixed].permute(0, 3, 1, 2),
        padded,
        [lay.padded_mixed],
        [1, 1],
        [weight.shape[-2] // 2, weight.shape[-1] // 2],
        [1, 1],
        False,
        [0, 0],
        lay.padded_mixed,
        [True, True, True],
    )
    dz[..., : lay.padded_mixed] = dc.permute(0, 2, 3, 1)
    return (
        dweight[: lay.mixed].to(weight.dtype),
        dbias[: lay.mixed].to(bias.dtype),
    )


def _padded(parameter: Tensor, lay: Layout) -> Tensor:
    missing = lay.padded_mixed - lay.mixed
    if missing == 0:
        return parameter
    return torch.cat((parameter, parameter.new_zeros(missing, *parameter.shape[1:])))
