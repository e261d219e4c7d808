"""Global multi-head self-attention (Vaswani et al., 2017), without the output projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..counting import Count, Size, linear
from ..errors import ArchitectureError
from .base import Mixer

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Attention(Mixer):
    """head_dim: channels of a head; the mixed channels must be a multiple of it. num_heads: how
    many heads instead, whatever the width. qkv_bias: of the projection to queries, keys and
    values."""

    letter: ClassVar[str] = "A"
    head_dim: int = 32
    num_heads: int | None = None
    qkv_bias: bool = True

    def check(self) -> None:
        if self.head_dim < 1 or (self.num_heads is not None and self.num_heads < 1):
            raise ArchitectureError(
                f"{self.label}: head_dim and num_heads must be positive, got {self.head_dim} and "
                f"{self.num_heads}"
            )
        if self.num_heads is not None and self.head_dim != type(self).head_dim:
            raise ArchitectureError(
                f"{self.label}: give head_dim or num_heads, not both, got {self.head_dim} and "
                f"{self.num_heads}"
            )

    def check_channels(self, channels: int) -> None:
        name, unit = ("head_dim", self.head_dim)
        if self.num_heads is not None:
            name, unit = ("num_heads", self.num_heads)
        if channels % unit:
            raise ArchitectureError(
                f"{self.label}: mixed channels must be a multiple of {name} {unit}, got {channels}"
            )

    def build(self, channels: int, width: int) -> nn.Module:
        from .modules.attention import SelfAttention

        head_dim = channels // self.num_heads if self.num_heads else self.head_dim
        return SelfAttention(channels, head_dim, self.qkv_bias)

    def count(self, channels: int, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        # QK^T and the weighted sum of V, whatever the number of heads
        qkv = linear(tokens, channels, 3 * channels, self.qkv_bias)
        return qkv + Count(0, 2 * tokens**2 * channels)
