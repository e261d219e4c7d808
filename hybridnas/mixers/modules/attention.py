"""Self-attention as a module."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class SelfAttention(nn.Module):
    """Every token attends to all tokens of the map; the block around it projects back."""

    def __init__(self, channels: int, head_dim: int, bias: bool) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = nn.Linear(channels, 3 * channels, bias)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        B, H, W, C = x.shape
        qkv = self.qkv(x).view(B, H * W, 3, C // self.head_dim, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, H*W, head_dim)
        y = scaled_dot_product_attention(q, k, v)
        return y.transpose(1, 2).reshape(B, H, W, C)
