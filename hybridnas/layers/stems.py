"""Stems, from the image to the first map, and downsamplers between stages."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ..counting import Count, Size, conv2d, conv_size, layer_norm
from ..errors import ArchitectureError
from ..parts import Part
from .blocks import norm


def halved(size: Size) -> Size:
    """The size of a map after a 3x3 convolution of stride 2."""
    return conv_size(size[0], 3, 2, 1), conv_size(size[1], 3, 2, 1)


def _conv(fan_in: int, fan_out: int) -> nn.Conv2d:
    return nn.Conv2d(fan_in, fan_out, kernel_size=3, stride=2, padding=1)


@dataclasses.dataclass(frozen=True)
class Stem(Part, abc.ABC):
    """Options of a stem: image (B, in_chans, H, W) -> map (B, H', W', width)."""

    kind: ClassVar[str] = "stem"
    stride: ClassVar[int]

    @abc.abstractmethod
    def build(self, in_chans: int, width: int) -> nn.Module: ...

    @abc.abstractmethod
    def count(self, in_chans: int, width: int, size: Size) -> tuple[Count, Size]:
        """Cost on an image of that size, and the size of the map."""

    def check_width(self, width: int) -> None:
        """Raises ArchitectureError where the stem cannot give that width."""


@dataclasses.dataclass(frozen=True)
class DoubleConv(Stem):
    """conv3x3 s2 to half the width, LayerNorm, GELU, conv3x3 s2, LayerNorm (MambaOut, VMamba)."""

    stride: ClassVar[int] = 4

    def check_width(self, width: int) -> None:
        if width < 2:
            raise ArchitectureError(f"{self.label}: needs a width of 2 or more, got {width}")

    def build(self, in_chans: int, width: int) -> nn.Module:
        return DoubleConvStem(in_chans, width)

    def count(self, in_chans: int, width: int, size: Size) -> tuple[Count, Size]:
        half = width // 2
        first, second = halved(size), halved(halved(size))
        early, late = first[0] * first[1], second[0] * second[1]
        total = conv2d(early, in_chans, half, 3) + layer_norm(early, half)
        return total + conv2d(late, half, width, 3) + layer_norm(late, width), second


class DoubleConvStem(nn.Module):
    def __init__(self, in_chans: int, width: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = _conv(in_chans, width // 2), norm(width // 2)
        self.conv2, self.norm2 = _conv(width // 2, width), norm(width)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_chans, H, W) -> (B, H/4, W/4, D)
        x = self.norm1(self.conv1(x).permute(0, 2, 3, 1))
        x = self.conv2(F.gelu(x).permute(0, 3, 1, 2))
        return self.norm2(x.permute(0, 2, 3, 1))


@dataclasses.dataclass(frozen=True)
class Downsample(Part, abc.ABC):
    """Options of what stands before every stage but the first; it halves the map."""

    kind: ClassVar[str] = "downsample"

    @abc.abstractmethod
    def build(self, width_in: int, width: int) -> nn.Module: ...

    @abc.abstractmethod
    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        """Cost on a map of that size, and the size that it leaves."""


@dataclasses.dataclass(frozen=True)
class ConvNorm(Downsample):
    """conv3x3 s2, LayerNorm (MambaOut, VMamba v2)."""

    def build(self, width_in: int, width: int) -> nn.Module:
        return ConvNormDownsample(width_in, width)

    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        half = halved(size)
        tokens = half[0] * half[1]
        return conv2d(tokens, width_in, width, 3) + layer_norm(tokens, width), half


class ConvNormDownsample(nn.Module):
    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv, self.norm = _conv(width_in, width), norm(width)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D_in) -> (B, H/2, W/2, D)
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


STEMS: dict[str, type[Stem]] = {"double_conv": DoubleConv}
DOWNSAMPLES: dict[str, type[Downsample]] = {"conv_norm": ConvNorm}
