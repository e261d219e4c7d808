"""Downsamplers as modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...norms import build_norm
from ...tracing import untraced

if TYPE_CHECKING:
    from ..downsamples import ConvNorm, NormConv, PatchMerging


class ConvNormDownsample(nn.Module):
    def __init__(self, options: ConvNorm, width_in: int, width: int) -> None:
        super().__init__()
        self.conv, self.norm = _halving(options, width_in, width), build_norm(options.norm, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D_in) -> (B, H/2, W/2, D)
        return self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class NormConvDownsample(nn.Module):
    def __init__(self, options: NormConv, width_in: int, width: int) -> None:
        super().__init__()
        self.norm = build_norm(options.norm, width_in, narrow=True)
        self.conv = _halving(options, width_in, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D_in) -> (B, H/2, W/2, D)
        return self.conv(self.norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def _halving(options: ConvNorm | NormConv, width_in: int, width: int) -> nn.Conv2d:
    kernel = options.kernel
    return nn.Conv2d(width_in, width, kernel, 2, kernel - 2, bias=options.bias)


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
