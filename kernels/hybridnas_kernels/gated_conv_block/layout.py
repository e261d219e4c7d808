"""Where the parts of a block's projection lie in memory: aligned, and without a concatenation.

The projection is kept as one matrix, a row a token, with the columns

    [ c | gate | identity | convolved c ]          gate: [ for the identity | for c ]

so that `identity | convolved c`, which the gate multiplies, is one slice, no concatenation. The
first three are one matrix product's output; the convolution reads the first slice and writes the
last. The gradient of the projection lies in a matrix like it. Every part is as wide as its
channels rounded up to ALIGN; the columns in between are zeros.
"""

from __future__ import annotations

import dataclasses

ALIGN = 16  # channels; 16-byte accesses need 8 in 16 bits, and Triton tells multiples of 16 apart


@dataclasses.dataclass(frozen=True)
class Layout:
    """Columns of the projection of a block: width to 2 * hidden channels, `mixed` convolved."""

    width: int
    hidden: int
    mixed: int

    @property
    def padded_width(self) -> int:
        return _aligned(self.width)

    @property
    def padded_mixed(self) -> int:
        return _aligned(self.mixed)

    @property
    def padded_identity(self) -> int:
        return _aligned(self.hidden - self.mixed)

    @property
    def padded_hidden(self) -> int:
        return self.padded_identity + self.padded_mixed

    @property
    def gate(self) -> int:
        """First column of the gate."""
        return self.padded_mixed

    @property
    def gated(self) -> int:
        """First column of what the gate multiplies."""
        return self.padded_mixed + self.padded_hidden

    @property
    def convolved(self) -> int:
        """First column of the convolution's output: how many columns the projection makes."""
        return self.gated + self.padded_identity

    @property
    def columns(self) -> int:
        return self.convolved + self.padded_mixed


def _aligned(channels: int) -> int:
    return -(-channels // ALIGN) * ALIGN
