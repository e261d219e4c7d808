"""Downsamplers: what stands before every stage but the first, and halves the map."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..counting import Count, Size, conv2d, conv_size, linear
from ..errors import ArchitectureError
from ..norms import Norm, build_norm, count_norm
from ..parts import Part
from ..tracing import untraced


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

    def convolution(self, width_in: int, width: int) -> nn.Conv2d:
        return nn.Conv2d(width_in, width, self.kernel, 2, self.kernel - 2, bias=self.bias)

    def halved(self, size: Size) -> Size:
        return conv_size(size, self.kernel, 2, self.kernel - 2)

    def count_conv(self, width_in: int, width: int, half: Size) -> Count:
        return conv2d(half[0] * half[1], width_in, width, self.kernel, bias=self.bias)


@dataclasses.dataclass(frozen=True)
class ConvNorm(_Conv):
    """Convolution, then norm (MambaOut, VMamba; MambaVision without the norm)."""

    def build(self, width_in: int, width: int) -> nn.Module:
        return ConvNormDownsample(self, width_in, width)

    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        half = self.halved(size)
        norm = count_norm(self.norm, half[0] * half[1], width)
        return self.count_conv(width_in, width, half) + norm, half


class ConvNormDownsample(nn.Module):
    def __init__(self, options: ConvNorm, width_in: int, width: int) -> None:
        super().__init__()
        self.conv, self.norm = options.convolution(width_in, width), build_norm(options.norm, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D_in) -> (B, H/2, W/2, D)
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


@dataclasses.dataclass(frozen=True)
class NormConv(_Conv):
    """Norm, then convolution (ConvFormer; ConvNeXt with kernel 2)."""

    def build(self, width_in: int, width: int) -> nn.Module:
        return NormConvDownsample(self, width_in, width)

    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        norm, half = count_norm(self.norm, size[0] * size[1], width_in), self.halved(size)
        return norm + self.count_conv(width_in, width, half), half


class NormConvDownsample(nn.Module):
    def __init__(self, options: NormConv, width_in: int, width: int) -> None:
        super().__init__()
        self.norm = build_norm(options.norm, width_in, narrow=True)
        self.conv = options.convolution(width_in, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D_in) -> (B, H/2, W/2, D)
        return self.conv(self.norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@dataclasses.dataclass(frozen=True)
class PatchMerging(Downsample):
    """Four neighbours side by side, norm, linear map without bias (Swin, VMamba's first version).
    A map of odd size is padded with zeros."""

    norm: Norm = "layer"

    def build(self, width_in: int, width: int) -> nn.Module:
        return PatchMergingDownsample(self, width_in, width)

    def count(self, width_in: int, width: int, size: Size) -> tuple[Count, Size]:
        half = (size[0] + 1) // 2, (size[1] + 1) // 2
        tokens = half[0] * half[1]
        norm = count_norm(self.norm, tokens, 4 * width_in)
        return norm + linear(tokens, 4 * width_in, width, bias=False), half


class PatchMergingDownsample(nn.Module):
    def __init__(self, options: PatchMerging, width_in: int, width: int) -> None:
        super().__init__()
        self.norm = build_norm(options.norm, 4 * width_in, narrow=True)
        self.reduction = nn.Linear(4 * width_in, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D_in) -> (B, H/2, W/2, D)
        return self.reduction(self.norm(side_by_side(x)))


@untraced
def side_by_side(x: Tensor) -> Tensor:
    """(B, H, W, D) -> (B, H/2, W/2, 4 D): each 2 x 2 square, column by column as in Swin."""
    if x.shape[1] % 2 + x.shape[2] % 2 > 0:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
    upper, lower = x[:, ::2], x[:, 1::2]
    return torch.cat((upper[:, :, ::2], lower[:, :, ::2], upper[:, :, 1::2], lower[:, :, 1::2]), -1)
