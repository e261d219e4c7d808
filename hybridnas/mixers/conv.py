"""Convolutions as token mixers, depthwise or dense, on channels-last maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..activations import Activation, build_activation, count_activation
from ..counting import Count, Size, conv2d
from ..errors import ArchitectureError
from ..kernels import DEPTHWISE_KERNELS, depthwise_conv2d
from ..tracing import untraced
from .base import Mixer


def check_kernel(kernel: int, label: str) -> None:
    """A kernel must be odd, so that the map keeps its size."""
    if kernel < 1 or kernel % 2 == 0:
        raise ArchitectureError(f"{label}: kernel must be odd and positive, got {kernel}")


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


@dataclass(frozen=True)
class Conv(Mixer):
    """kernel: side of the convolution, odd. depthwise: each channel by itself, else all mixed.
    pre_act: an activation before it (StarReLU in ConvFormer's separable convolution).
    conv_bias: whether it has a bias."""

    letter: ClassVar[str] = "C"
    kernel: int = 7
    depthwise: bool = True
    pre_act: Activation = "none"
    conv_bias: bool = True

    def check(self) -> None:
        check_kernel(self.kernel, self.label)

    def build(self, channels: int, width: int) -> nn.Module:
        groups = channels if self.depthwise else 1
        conv = MapConv(channels, self.kernel, groups, self.conv_bias)
        if self.pre_act == "none":
            return conv
        return nn.Sequential(build_activation(self.pre_act), conv)

    def count(self, channels: int, width: int, size: Size) -> Count:
        groups = channels if self.depthwise else 1
        tokens = size[0] * size[1]
        conv = conv2d(tokens, channels, channels, self.kernel, groups, self.conv_bias)
        return conv + count_activation(self.pre_act)
