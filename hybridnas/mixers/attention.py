"""Global multi-head self-attention (Vaswani et al., 2017), without the output projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ..counting import Count, Size, linear
from ..errors import ArchitectureError
from .base import Mixer


class SelfAttention(nn.Module):
    """Every token attends to all tokens of the map; the block around it projects back."""

    def __init__(self, channels: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(channels, 3 * channels)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        B, H, W, C = x.shape
        qkv = self.qkv(x).view(B, H * W, 3, C // self.head_dim, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, H*W, head_dim)
        y = scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2).reshape(B, H, W, C)


@dataclass(frozen=True)
class Attention(Mixer):
    """head_dim: channels of a head; the mixed channels must be a multiple of it."""

    letter: ClassVar[str] = "A"
    head_dim: int = 32

    def check(self) -> None:
        if self.head_dim < 1:
            raise ArchitectureError(f"{self.label}: head_dim must be positive, got {self.head_dim}")

    def check_channels(self, channels: int) -> None:
        if channels % self.head_dim:
            raise ArchitectureError(
                f"{self.label}: mixed channels must be a multiple of head_dim "
                f"{self.head_dim}, got {channels}"
            )

    def build(self, channels: int, width: int) -> nn.Module:
        return SelfAttention(channels, self.head_dim)

    def count(self, channels: int, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        # QK^T and the weighted sum of V, whatever the number of heads
        return linear(tokens, channels, 3 * channels) + Count(0, 2 * tokens**2 * channels)
