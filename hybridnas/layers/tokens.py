"""The stem of isotropic networks (DeiT, Vim): patches, learned positions, a class token.

With a class token the map becomes a sequence, kept as a map of height 1, so that every mixer
that takes any H and W takes it too.
"""

from __future__ import annotations

import dataclasses

import torch
from timm.layers import resample_abs_pos_embed, trunc_normal_
from torch import Tensor, nn

from ..counting import Count, Size, conv2d, conv_size
from ..errors import ArchitectureError
from ..tracing import untraced
from .stems import ClassToken, Stem


@dataclasses.dataclass(frozen=True)
class Tokens(Stem):
    """patch: side of the square that a token stands for, in pixels. grid: side of the map that
    positions are learned for (14: 224 px); other maps get them interpolated.
    class_token: where one stands among the patches; 'none' keeps the map."""

    patch: int = 16
    grid: int = 14
    class_token: ClassToken = "first"

    def check(self) -> None:
        if self.patch < 1 or self.grid < 1:
            raise ArchitectureError(
                f"{self.label}: patch and grid must be positive, got {self.patch} and {self.grid}"
            )

    @property
    def token_place(self) -> ClassToken:
        return self.class_token

    @property
    def stride(self) -> int:
        return self.patch

    def build(self, in_chans: int, width: int) -> nn.Module:
        return TokensStem(self, in_chans, width)

    def count(self, in_chans: int, width: int, size: Size) -> tuple[Count, Size]:
        at = conv_size(size, self.patch, self.patch, 0)
        tokens, extra = at[0] * at[1], self.class_token != "none"
        learned = Count((self.grid**2 + 2 * extra) * width)  # positions, and the token itself
        total = conv2d(tokens, in_chans, width, self.patch) + learned
        return total, (1, tokens + 1) if extra else at


class TokensStem(nn.Module):
    def __init__(self, options: Tokens, in_chans: int, width: int) -> None:
        super().__init__()
        self.grid, self.place = options.grid, options.class_token
        self.conv1 = nn.Conv2d(in_chans, width, options.patch, options.patch)
        extra = int(options.class_token != "none")
        # The class token's position comes first, wherever the token stands.
        self.pos_embed = nn.Parameter(torch.empty(1, extra + options.grid**2, width))
        self.cls_token = nn.Parameter(torch.empty(1, 1, width)) if extra else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        trunc_normal_(self.pos_embed, std=0.02)
        if self.cls_token is not None:
            nn.init.normal_(self.cls_token, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:  # (B, in_chans, H, W) -> (B, 1, L + 1, D) or a map
        x = self.conv1(x).permute(0, 2, 3, 1)
        extra = 0 if self.cls_token is None else 1
        position = positions(self.pos_embed, x.shape[1], x.shape[2], self.grid, extra)
        if self.cls_token is None:
            return x + position.view(1, x.shape[1], x.shape[2], x.shape[3])
        x = x.flatten(1, 2) + position[:, 1:]
        token = (self.cls_token + position[:, :1]).expand(x.shape[0], -1, -1)
        return insert_token(x, token, self.place).unsqueeze(1)


@untraced
def positions(learned: Tensor, height: int, width: int, grid: int, num_extra: int) -> Tensor:
    """The learned positions for a map of that size, (1, num_extra + height * width, D)."""
    if height == grid and width == grid:
        return learned
    return resample_abs_pos_embed(
        learned, [height, width], [grid, grid], num_prefix_tokens=num_extra
    )


@untraced
def insert_token(x: Tensor, token: Tensor, place: str) -> Tensor:
    """(B, L, D), (B, 1, D) -> (B, L + 1, D)."""
    if place == "first":
        return torch.cat((token, x), 1)
    middle = x.shape[1] // 2
    return torch.cat((x[:, :middle], token, x[:, middle:]), 1)


@untraced
def take_token(x: Tensor, place: str) -> Tensor:
    """The class token (B, D) of a sequence (B, L + 1, D)."""
    return x[:, 0 if place == "first" else (x.shape[1] - 1) // 2]


@untraced
def drop_token(x: Tensor, place: str) -> Tensor:
    """(B, L + 1, D) -> (B, L, D): the patches alone."""
    if place == "first":
        return x[:, 1:]
    middle = (x.shape[1] - 1) // 2
    return torch.cat((x[:, :middle], x[:, middle + 1 :]), 1)
