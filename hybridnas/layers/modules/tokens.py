"""Tokens, learned positions and a class token: the stem of isotropic networks as a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from timm.layers import resample_abs_pos_embed, trunc_normal_
from torch import Tensor, nn

from ...tracing import untraced

if TYPE_CHECKING:
    from ..tokens import Tokens


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
