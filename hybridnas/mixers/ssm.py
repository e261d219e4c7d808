"""Selective state space model over 2D maps: VMamba's SS2D (Liu et al., 2024) on channels last.

The map is read as a sequence in one, two or four directions; every direction has its own
parameters, and the outputs are summed. Before the scan stands the depthwise convolution of the
Gated CNN block, so taking the scan out of a gated `ssm` block leaves a `gated_conv` block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hybridnas_kernels import selective_scan

from ..counting import Count, Size, conv2d, layer_norm
from ..errors import ArchitectureError
from .base import Mixer
from .gated_conv import DepthwiseConv, check_kernel

# Orders in which a map is read: row by row (h), column by column (v), each also backwards.
DIRECTIONS = ("h", "v", "h_flip", "v_flip")


class SelectiveScan2D(nn.Module):
    """Scans a map along each direction and sums the outputs: (B, H, W, C) -> (B, H, W, C).

    Per direction: a projection of the token to dt (rank R), B and C (d_state each), a projection
    of dt to the channels, the decay A = -exp(A_log) and the skip D.
    """

    def __init__(self, channels: int, rank: int, d_state: int, directions: tuple[str, ...]) -> None:
        super().__init__()
        self.rank, self.d_state, self.directions = rank, d_state, directions
        K = len(directions)
        self.x_proj = nn.Linear(channels, K * (rank + 2 * d_state), bias=False)
        self.dt_proj = nn.Parameter(torch.empty(K, rank, channels))
        self.dt_bias = nn.Parameter(torch.empty(K, channels))
        self.A_log = nn.Parameter(torch.empty(K, channels, d_state))
        self.D = nn.Parameter(torch.empty(K, channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Mamba's initialisation (Gu & Dao, arXiv 2312.00752): A_n = -n, dt in [1e-3, 1e-1]."""
        nn.init.uniform_(self.dt_proj, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            low, high = math.log(1e-3), math.log(1e-1)
            dt = torch.exp(torch.rand_like(self.dt_bias) * (high - low) + low).clamp_min(1e-4)
            self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
            steps = torch.arange(1, self.d_state + 1, dtype=self.A_log.dtype)
            self.A_log.copy_(torch.log(steps).expand_as(self.A_log))
            self.D.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        B, H, W, C = x.shape
        K, R, N, L = len(self.directions), self.rank, self.d_state, H * W
        # What a token is projected to does not depend on the order of reading: project the map
        # once, then read its result in every order.
        low = self.x_proj(x).view(B, H, W, K, R + 2 * N)
        u = torch.stack([_read(x, d) for d in self.directions], 1)  # (B, K, C, L)
        low = torch.stack([_read(low[..., k, :], d) for k, d in enumerate(self.directions)], 1)
        dt, b, c = low.split([R, N, N], dim=2)  # (B, K, R or N, L)
        delta = self.dt_proj.transpose(1, 2) @ dt  # (K, C, R) @ (B, K, R, L) -> (B, K, C, L)
        y = selective_scan(
            u.reshape(B, K * C, L),
            delta.reshape(B, K * C, L),
            -torch.exp(self.A_log.float()).view(K * C, N),
            b,
            c,
            self.D.view(K * C),
            delta_bias=self.dt_bias.view(K * C),
            delta_softplus=True,
        ).view(B, K, C, L)
        return sum(  # type: ignore[return-value]
            _write(y[:, k], d, H, W) for k, d in enumerate(self.directions)
        )


def _read(x: Tensor, direction: str) -> Tensor:  # (B, H, W, C) -> (B, C, L)
    order = (0, 3, 2, 1) if direction.startswith("v") else (0, 3, 1, 2)
    sequence = x.permute(order).flatten(2)
    return sequence.flip(2) if direction.endswith("_flip") else sequence


def _write(y: Tensor, direction: str, H: int, W: int) -> Tensor:  # (B, C, L) -> (B, H, W, C)
    if direction.endswith("_flip"):
        y = y.flip(2)
    if direction.startswith("v"):
        return y.unflatten(2, (W, H)).permute(0, 3, 2, 1)
    return y.unflatten(2, (H, W)).permute(0, 2, 3, 1)


class ConvScan(nn.Module):
    """Depthwise convolution, SiLU, selective scan, LayerNorm."""

    def __init__(
        self, channels: int, kernel: int, rank: int, d_state: int, directions: tuple[str, ...]
    ) -> None:
        super().__init__()
        self.conv = DepthwiseConv(channels, kernel)
        self.scan = SelectiveScan2D(channels, rank, d_state, directions)
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return self.norm(self.scan(F.silu(self.conv(x))))


@dataclass(frozen=True)
class SSM(Mixer):
    """kernel: of the convolution before the scan. d_state: numbers of state a channel.

    directions: names out of DIRECTIONS, apart by a space.
    """

    letter: ClassVar[str] = "S"
    kernel: int = 3
    d_state: int = 16
    directions: str = "h v h_flip v_flip"

    def check(self) -> None:
        check_kernel(self.kernel, self.label)
        if self.d_state < 1:
            raise ArchitectureError(f"{self.label}: d_state must be positive, got {self.d_state}")
        names = self.directions.split(" ")
        if len(names) not in (1, 2, 4) or any(name not in DIRECTIONS for name in names):
            raise ArchitectureError(
                f"{self.label}: directions must be 1, 2 or 4 of {', '.join(DIRECTIONS)}, "
                f"apart by a space, got {self.directions!r}"
            )

    def build(self, channels: int, width: int) -> nn.Module:
        names = tuple(self.directions.split(" "))
        return ConvScan(channels, self.kernel, _rank(width), self.d_state, names)

    def count(self, channels: int, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        R, N, K = _rank(width), self.d_state, len(self.directions.split(" "))
        projections = channels * (R + 2 * N) + R * channels
        scan = Count(
            params=K * (projections + channels * (N + 2)),  # A_log, and D with the bias of dt
            macs=K * tokens * (projections + 9 * channels * N + channels),
        )
        conv = conv2d(tokens, channels, channels, self.kernel, groups=channels)
        return conv + scan + layer_norm(tokens, channels)


def _rank(width: int) -> int:
    """Rank of dt's projection: a sixteenth of the block's width, as in Mamba."""
    return math.ceil(width / 16)
