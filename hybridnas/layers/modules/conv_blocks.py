"""Blocks of convolutional networks as modules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from ...activations import build_activation
from ...norms import build_norm
from .blocks import Mlp, drop_path_module
from .scale import optional_scale

if TYPE_CHECKING:
    from ...mixers import Mixer
    from ..conv_blocks import Basic, ConvNeXt


class ConvNeXtBlock(nn.Module):
    def __init__(self, form: ConvNeXt, mixer: Mixer, width: int, drop_path: float) -> None:
        super().__init__()
        self.mixer = mixer.build(width, width)
        self.mlp = Mlp(width, int(form.mlp_ratio * width), form.act, form.norm)
        self.scale = optional_scale(width, form.layer_scale)
        self.drop_path = drop_path_module(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D) -> (B, H, W, D)
        return x + self.drop_path(self.scale(self.mlp(self.mixer(x))))


class BasicBlock(nn.Module):
    def __init__(self, form: Basic, mixer: Mixer, width: int, drop_path: float) -> None:
        super().__init__()
        self.mixer1, self.mixer2 = mixer.build(width, width), mixer.build(width, width)
        self.norm1, self.norm2 = build_norm(form.norm, width), build_norm(form.norm, width)
        self.act = build_activation(form.act)
        self.scale = optional_scale(width, form.layer_scale)
        self.drop_path = drop_path_module(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D) -> (B, H, W, D)
        y = self.act(self.norm1(self.mixer1(x)))
        return x + self.drop_path(self.scale(self.norm2(self.mixer2(y))))
