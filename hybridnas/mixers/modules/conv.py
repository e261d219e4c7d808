"""Convolutions of channels-last maps as modules."""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels import DEPTHWISE_KERNELS, depthwise_conv2d
from ...tracing import untraced


class MapConv(nn.Conv2d):
    """A k x k convolution that keeps channels and size of a channels-last map."""

    def __init__(self, channels: int, kernel: int, groups: int, bias: bool = True) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return convolve(x, self.weight, self.bias)


@untraced
def convolve(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],  # noqa: UP045 (TorchScript reads these annotations)
) -> Tensor:
    """(B, H, W, C) -> (B, H, W, C); depthwise if the weights are (C, 1, k, k)."""
    kernel = weight.shape[2]
    if not torch.jit.is_scripting():  # type: ignore[attr-defined]
        if weight.shape[1] == 1 and kernel in DEPTHWISE_KERNELS:
            return depthwise_conv2d(x, weight, bias)
    groups = x.shape[3] // weight.shape[1]
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=kernel // 2, groups=groups)
    return y.permute(0, 2, 3, 1)
