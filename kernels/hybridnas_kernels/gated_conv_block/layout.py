"""Where the parts of a block's matrices lie in memory: aligned, and without a concatenation.

The projection is kept as one matrix, a row a token, with the columns

    [ c | gate | identity | convolved c ]          gate: [ for the identity | for c ]

so that `identity | convolved c`, which the gate multiplies, is one slice. The first three are one
matrix product's output; the convolution reads the first slice and writes the last. The gradient of
the projection lies in a matrix like it. Every part is as wide as its channels rounded up to ALIGN;
the columns in between are zeros.

What a product reads has one column more, of ones: a bias is the weight of a constant input. So
the product adds the bias, and the product that makes a weight's gradient makes its bias's too.
"""

from __future__ import annotations

import dataclasses
from functools import cached_property, lru_cache

ALIGN = 16  # channels; 16-byte accesses need 8 in 16 bits, and Triton tells multiples of 16 apart


@dataclasses.dataclass(frozen=True)
class Layout:
    """Columns of the matrices of a block: `hidden` gated channels, `mixed` of them convolved."""

    width: int
    hidden: int
    mixed: int

    @cached_property
    def normed_columns(self) -> int:
        """The normalised input: `width` channels, the constant, zeros."""
        return _aligned(self.width + 1)

    @cached_property
    def padded_mixed(self) -> int:
        return _aligned(self.mixed)

    @cached_property
    def padded_identity(self) -> int:
        return _aligned(self.hidden - self.mixed)

    @cached_property
    def padded_hidden(self) -> int:
        return self.padded_identity + self.padded_mixed

    @cached_property
    def hidden_columns(self) -> int:
        """What the second product reads: padded_hidden channels, the constant, zeros."""
        return self.padded_hidden + ALIGN

    @cached_property
    def gate(self) -> int:
        """First column of the gate in the projection."""
        return self.padded_mixed

    @cached_property
    def gated(self) -> int:
        """First column of what the gate multiplies."""
        return self.padded_mixed + self.padded_hidden

    @cached_property
    def convolved(self) -> int:
        """First column of the convolution's output: how many columns the projection makes."""
        return self.gated + self.padded_identity

    @cached_property
    def columns(self) -> int:
        return self.convolved + self.padded_mixed


@lru_cache(maxsize=1024)
def layout(width: int, hidden: int, mixed: int) -> Layout:
    """One object for equal numbers, so that what it derives is computed once."""
    return Layout(width, hidden, mixed)


def _aligned(channels: int) -> int:
    return -(-channels // ALIGN) * ALIGN
