"""The depthwise convolution in PyTorch: runs anywhere, with gradients; for tests and exports."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def depthwise_conv2d_reference(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What the operator returns, by PyTorch's convolution; shapes are not checked here.

    The permutation copies nothing: a contiguous (B, H, W, C) is PyTorch's channels-last format.
    """
    channels, _, k, _ = weight.shape
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=k // 2, groups=channels)
    return y.permute(0, 2, 3, 1).contiguous()
