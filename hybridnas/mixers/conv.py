"""Convolutions as token mixers, depthwise or dense, on channels-last maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..counting import Activation, Count, Size, conv2d, count_activation
from ..errors import ArchitectureError
from .base import Mixer

if TYPE_CHECKING:
    from torch import nn


def check_kernel(kernel: int, label: str) -> None:
    """A kernel must be odd, so that the map keeps its size."""
    if kernel < 1 or kernel % 2 == 0:
        raise ArchitectureError(f"{label}: kernel must be odd and positive, got {kernel}")


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
        from torch import nn

        from ..activations import build_activation
        from .modules.conv import MapConv

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
