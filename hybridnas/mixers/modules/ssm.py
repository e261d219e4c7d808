"""The mixer `ssm` as a module: convolution, selective scan, norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...norms import build_norm
from .conv import MapConv
from .scan import SelectiveScan2D

if TYPE_CHECKING:
    from ..ssm import SSM


class ConvScan(nn.Module):
    """Convolution, SiLU, selective scan, norm."""

    def __init__(self, options: SSM, channels: int, rank: int) -> None:
        super().__init__()
        scanned, causal = options.scanned(channels), options.conv == "causal"
        self.split = [scanned, channels - scanned]
        self.conv = None if causal else _convolution(options, channels)
        self.scan = SelectiveScan2D(
            scanned,
            rank,
            options.d_state,
            options.orders(),
            causal_kernel=options.kernel if causal else 0,
            mean=options.merge == "mean",
            attention_ratio=options.channel_attention,
        )
        self.norm = build_norm(options.scan_norm, scanned, narrow=True)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        if self.conv is not None:
            x = F.silu(self.conv(x))
        if self.split[1] == 0:
            return self.norm(self.scan(x))
        scanned, rest = x.split(self.split, dim=-1)
        return torch.cat((self.norm(self.scan(scanned)), rest), dim=-1)


class RowConv(nn.Conv1d):
    """A depthwise convolution along the rows of a map, one after the other as one sequence."""

    def __init__(self, channels: int, kernel: int, bias: bool) -> None:
        super().__init__(
            channels, channels, kernel, padding=kernel // 2, groups=channels, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        y = x.flatten(1, 2).transpose(1, 2)  # (B, C, L)
        y = F.conv1d(y, self.weight, self.bias, padding=self.padding, groups=self.groups)
        return y.transpose(1, 2).view_as(x)


def _convolution(options: SSM, channels: int) -> nn.Module:
    if options.conv == "1d":
        return RowConv(channels, options.kernel, options.conv_bias)
    return MapConv(channels, options.kernel, channels, options.conv_bias)
