"""Depthwise convolution: the mixer of MambaOut's Gated CNN block (Yu & Wang, CVPR 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..counting import Count, Size, conv2d
from ..errors import ArchitectureError
from .base import Mixer


def check_kernel(kernel: int, label: str) -> None:
    """A depthwise kernel must be odd, so that the map keeps its size."""
    if kernel < 1 or kernel % 2 == 0:
        raise ArchitectureError(f"{label}: kernel must be odd and positive, got {kernel}")


class DepthwiseConv(nn.Conv2d):
    """A k x k depthwise convolution on a channels-last map."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class GatedConv(Mixer):
    """kernel: side of the depthwise convolution, odd."""

    letter: ClassVar[str] = "G"
    kernel: int = 7

    def check(self) -> None:
        check_kernel(self.kernel, self.label)

    def build(self, channels: int, width: int) -> nn.Module:
        return DepthwiseConv(channels, self.kernel)

    def count(self, channels: int, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        return conv2d(tokens, channels, channels, self.kernel, groups=channels)
