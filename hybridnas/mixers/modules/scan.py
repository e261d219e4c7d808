"""The selective scan of a 2D map along several directions: VMamba's SS2D (Liu et al.,
arXiv 2401.10166) and what its heirs made of it, on channels-last maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...kernels import choose, selective_scan, selective_scan_traceable, ss2d
from ...norms import build_norm
from ...tracing import untraced
from ..orders import Order, length
from .sequences import read_sequence, write_sequence


class SelectiveScan2D(nn.Module):
    """Scans a map along each order and merges the outputs: (B, H, W, C) -> (B, H, W, C).

    Per direction, with its own parameters: a projection of the token to dt (rank R), B and C
    (d_state each), a projection of dt to the channels, the decay A = -exp(A_log), the skip D.

    causal_kernel: of a causal convolution along each direction before its scan (Vim); 0: none.
    mean: the merge is the mean of the directions (Vim), else their sum.
    attention_ratio: of LocalMamba's channel attention on each direction's output; 0: none.
    """

    def __init__(
        self,
        channels: int,
        rank: int,
        d_state: int,
        orders: Sequence[Order],
        causal_kernel: int = 0,
        mean: bool = False,
        attention_ratio: int = 0,
    ) -> None:
        super().__init__()
        self.rank, self.d_state, self.orders = rank, d_state, list(orders)
        self.scale = 1 / len(orders) if mean else 1.0
        K = len(orders)
        self.conv = CausalConv(K * channels, causal_kernel) if causal_kernel else None
        self.x_proj = nn.Parameter(torch.empty(K, rank + 2 * d_state, channels))
        self.dt_proj = nn.Parameter(torch.empty(K, channels, rank))
        self.dt_bias = nn.Parameter(torch.empty(K, channels))
        self.A_log = nn.Parameter(torch.empty(K, channels, d_state))
        self.D = nn.Parameter(torch.empty(K, channels))
        self.attention = (
            ChannelAttention(channels, attention_ratio) if attention_ratio else nn.Identity()
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Mamba's initialisation (Gu & Dao, arXiv 2312.00752): A_n = -n, dt in [1e-3, 1e-1]."""
        nn.init.uniform_(self.x_proj, -(self.x_proj.shape[2] ** -0.5), self.x_proj.shape[2] ** -0.5)
        nn.init.uniform_(self.dt_proj, -(self.rank**-0.5), self.rank**-0.5)
        with torch.no_grad():
            low, high = math.log(1e-3), math.log(1e-1)
            dt = torch.exp(torch.rand_like(self.dt_bias) * (high - low) + low).clamp_min(1e-4)
            self.dt_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
            steps = torch.arange(1, self.d_state + 1, dtype=self.A_log.dtype)
            self.A_log.copy_(torch.log(steps).expand_as(self.A_log))
            self.D.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            if self._reads_in_place(x):
                merged = self._in_place(x)
                return merged if self.scale == 1.0 else merged * self.scale
        H, W = x.shape[1], x.shape[2]
        u = read_sequences(x, self.orders)  # (B, K, C, L)
        if self.conv is not None:
            u = F.silu(self.conv(u.flatten(1, 2))).view_as(u)
        dt, b, c = (self.x_proj @ u).split([self.rank, self.d_state, self.d_state], dim=2)
        delta = self.dt_proj @ dt  # (K, C, R) @ (B, K, R, L) -> (B, K, C, L)
        y = scan_sequences(u, delta, self.A_log, b, c, self.D, self.dt_bias)
        maps = write_sequences(y, self.orders, H, W)
        merged = self.attention(maps[0])
        for k in range(1, len(self.orders)):  # by number: torch.fx does not know how many maps
            merged = merged + self.attention(maps[k])
        return merged if self.scale == 1.0 else merged * self.scale

    def _reads_in_place(self, x: Tensor) -> bool:
        """Whether one kernel scans all directions on the map, where nothing of them is needed
        but the sum. torch.fx gives no tensor here: it gets the sequences."""
        whole = self.conv is None and isinstance(self.attention, nn.Identity)
        return whole and isinstance(x, Tensor) and choose("ss2d", None, x) == "triton"

    def _in_place(self, x: Tensor) -> Tensor:
        # The projections are of single tokens, so the order of tokens does not matter to them.
        dbc = F.linear(x, self.x_proj.flatten(0, 1))
        A = -torch.exp(self.A_log.float())
        return ss2d(x, dbc, self.dt_proj, A, self.D, self.dt_bias, self.orders)


@untraced
def read_sequences(x: Tensor, orders: list[Order]) -> Tensor:
    """(B, H, W, C) -> (B, K, C, L), each order padded at its end to the longest one's length."""
    found = [read_sequence(x, window, flip) for window, flip in orders]
    longest = max([y.shape[2] for y in found])
    padded: list[Tensor] = []
    for y in found:
        padded.append(y if y.shape[2] == longest else F.pad(y, (0, longest - y.shape[2])))
    return torch.stack(padded, 1)


@untraced
def write_sequences(y: Tensor, orders: list[Order], height: int, width: int) -> list[Tensor]:
    """(B, K, C, L) -> a map (B, H, W, C) of each order."""
    maps: list[Tensor] = []
    for k, (window, flip) in enumerate(orders):
        sequence = y[:, k, :, : length(window, height, width)]
        maps.append(write_sequence(sequence, window, flip, height, width))
    return maps


@untraced
def scan_sequences(
    u: Tensor, delta: Tensor, A_log: Tensor, b: Tensor, c: Tensor, D: Tensor, dt_bias: Tensor
) -> Tensor:
    """The selective scan of K sequences at once, (B, K, C, L) -> (B, K, C, L)."""
    A = A_log if A_log.dtype == torch.float64 else A_log.float()
    A = -torch.exp(A).flatten(0, 1)
    wide, step, skip, bias = u.flatten(1, 2), delta.flatten(1, 2), D.flatten(), dt_bias.flatten()
    if torch.jit.is_scripting():  # type: ignore[attr-defined]
        return selective_scan_traceable(wide, step, A, b, c, skip, None, bias, True)[0].view_as(u)
    return selective_scan(wide, step, A, b, c, skip, delta_bias=bias, delta_softplus=True).view_as(
        u
    )


class CausalConv(nn.Conv1d):
    """A depthwise convolution along a sequence that sees no later token: (B, C, L) -> (B, C, L)."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (self.kernel_size[0] - 1, 0))
        return F.conv1d(x, self.weight, self.bias, groups=self.groups)


class ChannelAttention(nn.Module):
    """LocalMamba's SCAttn as released: a gate on the channels from the mean over the tokens."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        self.norm = build_norm("layer_1e-5", channels)
        self.reduce = nn.Linear(channels, channels // ratio)
        self.expand = nn.Linear(channels // ratio, channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        mean = self.norm(x).mean((1, 2), keepdim=True)
        return x * self.expand(F.gelu(self.reduce(mean))).sigmoid()
