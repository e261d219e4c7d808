"""Depthwise convolution: the mixer of MambaOut's Gated CNN block (Yu & Wang, CVPR 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..counting import Count, Size, conv2d
from .base import Mixer
from .conv import check_kernel

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class GatedConv(Mixer):
    """kernel: side of the depthwise convolution, odd."""

    letter: ClassVar[str] = "G"
    kernel: int = 7

    def check(self) -> None:
        check_kernel(self.kernel, self.label)

    def build(self, channels: int, width: int) -> nn.Module:
        from .modules.conv import MapConv

        return MapConv(channels, self.kernel, groups=channels)

    def count(self, channels: int, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        return conv2d(tokens, channels, channels, self.kernel, groups=channels)
