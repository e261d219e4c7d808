"""Selective state space model over 2D maps.

Before the scan stands a convolution. With the defaults it is the depthwise one of the Gated CNN
block, so taking the scan out of a gated `ssm` block leaves a `gated_conv` block. The options
cover what was published: VMamba's SS2D, Vim's two directions with a causal convolution each,
LocalMamba's windows and attention, MambaVision's half that is convolved but not scanned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ..counting import Count, Norm, Size, conv2d, count_norm, linear
from ..errors import ArchitectureError
from .base import Mixer
from .conv import check_kernel
from .orders import Order, length, order_of

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SSM(Mixer):
    """kernel: of the convolution before the scan. d_state: numbers of state a channel.

    directions: one or more of h, v, w2, w7 (any window), each also with _flip, apart by a space;
    each time that one is named it has parameters of its own (hybridnas.mixers.orders).
    conv: '2d', a square on the map; '1d', along its rows as one sequence (MambaVision); 'causal',
    along each direction's own sequence, with its own weights (Vim).
    scan_ratio: share of the channels that is scanned; the rest is convolved only.
    scan_norm: after the merge of the directions. merge: their sum or mean.
    channel_attention: LocalMamba's attention on each direction's output has that many times
    fewer hidden channels; 0: no attention.
    """

    letter: ClassVar[str] = "S"
    kernel: int = 3
    d_state: int = 16
    directions: str = "h v h_flip v_flip"
    conv: Literal["2d", "1d", "causal"] = "2d"
    conv_bias: bool = True
    scan_ratio: float = 1.0
    scan_norm: Norm = "layer"
    merge: Literal["sum", "mean"] = "sum"
    channel_attention: int = 0

    def check(self) -> None:
        if self.conv != "causal":
            check_kernel(self.kernel, self.label)
        elif self.kernel < 1 or self.scan_ratio != 1 or not self.conv_bias:
            raise ArchitectureError(
                f"{self.label}: a causal convolution needs a positive kernel, scan_ratio 1 and "
                f"conv_bias, got kernel {self.kernel}, scan_ratio {self.scan_ratio:g}, "
                f"conv_bias {self.conv_bias}"
            )
        if self.d_state < 1:
            raise ArchitectureError(f"{self.label}: d_state must be positive, got {self.d_state}")
        if not 0 < self.scan_ratio <= 1 or self.channel_attention < 0:
            raise ArchitectureError(
                f"{self.label}: needs 0 < scan_ratio <= 1 and channel_attention >= 0, got "
                f"{self.scan_ratio:g} and {self.channel_attention}"
            )
        self.orders()

    def orders(self) -> tuple[Order, ...]:
        """The directions as the scan takes them; ArchitectureError for what is none."""
        names = self.directions.split(" ")
        found = tuple(order for name in names if (order := order_of(name)) is not None)
        if len(found) != len(names):
            raise ArchitectureError(
                f"{self.label}: directions must be h, v or w2, w7, ... (windows), each also with "
                f"_flip, apart by a space, got {self.directions!r}"
            )
        return found

    def scanned(self, channels: int) -> int:
        return int(self.scan_ratio * channels)

    def check_channels(self, channels: int) -> None:
        scanned = self.scanned(channels)
        if scanned < 1 or scanned < self.channel_attention:
            raise ArchitectureError(
                f"{self.label}: {channels} mixed channels are too few for scan_ratio "
                f"{self.scan_ratio:g} and channel_attention {self.channel_attention}"
            )

    def build(self, channels: int, width: int) -> nn.Module:
        from .modules.ssm import ConvScan

        return ConvScan(self, channels, _rank(width))

    def count(self, channels: int, width: int, size: Size) -> Count:
        tokens, scanned, orders = size[0] * size[1], self.scanned(channels), self.orders()
        R, N, K = _rank(width), self.d_state, len(orders)
        L = max(length(window, *size) for window, _ in orders)
        projections = scanned * (R + 2 * N) + R * scanned
        total = Count(
            params=K * (projections + scanned * (N + 2)),  # A_log, and D with the bias of dt
            macs=K * L * (projections + 9 * scanned * N + scanned),
        )
        if self.conv == "2d":
            total += conv2d(tokens, channels, channels, self.kernel, channels, self.conv_bias)
        elif self.conv == "1d":
            total += _conv1d(tokens, channels, self.kernel, self.conv_bias)
        else:
            total += _conv1d(L, K * channels, self.kernel, bias=True)
        if self.channel_attention:
            hidden = scanned // self.channel_attention
            gate = count_norm("layer_1e-5", tokens, scanned) + linear(1, scanned, hidden)
            gate += linear(1, hidden, scanned)
            total += Count(gate.params, K * gate.macs)  # shared by the directions
        return total + count_norm(self.scan_norm, tokens, scanned)


def _conv1d(positions: int, channels: int, kernel: int, bias: bool) -> Count:
    """A depthwise convolution along a sequence."""
    return Count(channels * (kernel + bias), positions * channels * kernel)


def _rank(width: int) -> int:
    """Rank of dt's projection: a sixteenth of the block's width, as in Mamba."""
    return math.ceil(width / 16)
