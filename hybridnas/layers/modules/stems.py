"""Stems as modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ...activations import build_activation
from ...norms import build_norm
from ...tracing import untraced

if TYPE_CHECKING:
    from ..stems import DoubleConv, Patch


class DoubleConvStem(nn.Module):
    def __init__(self, options: DoubleConv, in_chans: int, width: int) -> None:
        super().__init__()
        hidden = options.hidden or width // 2
        self.conv1 = nn.Conv2d(in_chans, hidden, 3, 2, 1, bias=options.bias)
        self.norm1 = build_norm(options.norm if options.mid_norm else "none", hidden, narrow=True)
        self.act1 = build_activation(options.act)
        self.conv2 = nn.Conv2d(hidden, width, 3, 2, 1, bias=options.bias)
        self.norm2 = build_norm(options.norm, width)
        self.act2 = build_activation(options.act if options.last_act else "none")

    def forward(self, x: Tensor) -> Tensor:  # (B, in_chans, H, W) -> (B, H/4, W/4, D)
        x = self.act1(self.norm1(self.conv1(channels_last(x)).permute(0, 2, 3, 1)))
        x = self.conv2(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.act2(self.norm2(x))


class PatchStem(nn.Module):
    def __init__(self, options: Patch, in_chans: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, width, options.kernel, options.step, options.padding)
        self.norm1 = build_norm(options.norm, width)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_chans, H, W) -> (B, H', W', D)
        return self.norm1(self.conv1(channels_last(x)).permute(0, 2, 3, 1))


@untraced
def channels_last(x: Tensor) -> Tensor:
    """On a GPU the image in channels-last memory: then all that follows is, without a copy."""
    return x.contiguous(memory_format=torch.channels_last) if x.is_cuda else x
