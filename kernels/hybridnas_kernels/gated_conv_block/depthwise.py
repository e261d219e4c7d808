"""The block's convolution, on slices of its matrices: by depthwise_conv2d's kernels, or PyTorch's
for the kernel sizes that those have not."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..depthwise_conv2d import DEPTHWISE_KERNELS
from .layout import Layout


def convolve(z: Tensor, lay: Layout, weight: Tensor, bias: Tensor) -> None:
    """Fills the last columns of z (B, H, W, columns) with the convolution of its first."""
    from ..depthwise_conv2d.triton_kernel import forward

    weight, bias = _padded(weight, lay), _padded(bias, lay)
    c, convolved = z[..., : lay.padded_mixed], z[..., lay.convolved :]
    if _has_kernel(weight):
        forward(c, weight, bias, out=convolved)
        return
    padding, groups = (weight.shape[-2] // 2, weight.shape[-1] // 2), lay.padded_mixed
    y = F.conv2d(c.permute(0, 3, 1, 2), weight.to(z.dtype), bias.to(z.dtype), 1, padding, 1, groups)
    convolved.copy_(y.permute(0, 2, 3, 1))


def convolve_backward(
    dz: Tensor, z: Tensor, lay: Layout, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Fills the first columns of dz from its last; returns the gradients of weight and bias."""
    from ..depthwise_conv2d.triton_kernel import backward

    padded = _padded(weight, lay)
    dy, c, dc = dz[..., lay.convolved :], z[..., : lay.padded_mixed], dz[..., : lay.padded_mixed]
    if _has_kernel(weight):
        _, dweight, dbias = backward(dy, c, padded, dx=dc)
    else:
        padding, channels = [weight.shape[-2] // 2, weight.shape[-1] // 2], lay.padded_mixed
        found, dweight, dbias = torch.ops.aten.convolution_backward(
            dy.permute(0, 3, 1, 2), c.permute(0, 3, 1, 2), padded.to(z.dtype), [channels],
            [1, 1], padding, [1, 1], False, [0, 0], channels, [True, True, True],
        )  # fmt: skip
        dc.copy_(found.permute(0, 2, 3, 1))
    assert dweight is not None
    assert dbias is not None
    return dweight[: lay.mixed].to(weight.dtype), dbias[: lay.mixed].to(bias.dtype)


def _has_kernel(weight: Tensor) -> bool:
    return weight.shape[-2] == weight.shape[-1] and weight.shape[-1] in DEPTHWISE_KERNELS


def _padded(parameter: Tensor, lay: Layout) -> Tensor:
    """With channels of zeros up to the columns that they fill."""
    missing = lay.padded_mixed - lay.mixed
    if missing == 0:
        return parameter
    return torch.cat((parameter, parameter.new_zeros(missing, *parameter.shape[1:])))
