"""Downsamplers: what stands before every stage but the first, and halves the map."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..counting import Count, Norm, Size, conv2d, conv_size, count_norm, linear
from ..errors import ArchitectureError
from ..parts import Part

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True)
class Downsample(Part, abc.ABC):
    """Options of a downsampler: map (B, H, W, width_in) -> map (B, H/2, W/2, width)."""

    kind: ClassVar[str] = "downsample"

    @abc.abstractmethod
    def build(self, width_in: int, width: int) -> nn.Module: ...

    @abc.abstractmethod
    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        """Cost on a map of that size, and the size that it leaves."""


@dataclasses.dataclass(frozen=True)
class _Conv(Downsample):
    """A convolution of stride 2. kernel: 3 keeps the last row and column of a map of odd size,
    2 drops them. bias: of the convolution."""

    kernel: int = 3
    norm: Norm = "layer"
    bias: bool = True

    def check(self) -> None:
        if self.kernel not in (2, 3):
            raise ArchitectureError(f"{self.label}: kernel must be 2 or 3, got {self.kernel}")

    def halved(self, size: Size) -> Size:
        return conv_size(size, self.kernel, 2, self.kernel - 2)

    def count_conv(self, width_in: int, width: int, half: Size) -> Count:
        return conv2d(half[0] * half[1], width_in, width, self.kernel, bias=self.bias)


@dataclasses.dataclass(frozen=True)
class ConvNorm(_Conv):
    """Convolution, then norm (MambaOut, VMamba; MambaVision without the norm)."""

    def build(self, width_in: int, width: int) -> nn.Module:
        from .modules.downsamples import ConvNormDownsample

        return ConvNormDownsample(self, width_in, width)

    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        half = self.halved(size)
        norm = count_norm(self.norm, half[0] * half[1], width)
        return self.count_conv(width_in, width, half) + norm, half


@dataclasses.dataclass(frozen=True)
class NormConv(_Conv):
    """Norm, then convolution (ConvFormer; ConvNeXt with kernel 2)."""

    def build(self, width_in: int, width: int) -> nn.Module:
        from .modules.downsamples import NormConvDownsample

        return NormConvDownsample(self, width_in, width)

    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        norm, half = count_norm(self.norm, size[0] * size[1], width_in), self.halved(size)
        return norm + self.count_conv(width_in, width, half), half


@dataclasses.dataclass(frozen=True)
class PatchMerging(Downsample):
    """Four neighbours side by side, norm, linear map without bias (Swin, VMamba's first version).
    A map of odd size is padded with zeros."""

    norm: Norm = "layer"

    def build(self, width_in: int, width: int) -> nn.Module:
        from .modules.downsamples import PatchMergingDownsample

        return PatchMergingDownsample(self, width_in, width)

    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        half = (size[0] + 1) // 2, (size[1] + 1) // 2
        tokens = half[0] * half[1]
        norm = count_norm(self.norm, tokens, 4 * width_in)
        return norm + linear(tokens, 4 * width_in, width, bias=False), half
