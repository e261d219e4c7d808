"""Residual blocks as modules. All maps are channels-last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from ...activations import build_activation
from ...counting import Activation, Norm
from ...norms import build_norm
from .fused import fused, fuses
from .scale import optional_scale

if TYPE_CHECKING:
    from ...mixers import Mixer
    from ..blocks import Gated, MetaFormer


def drop_path_module(rate: float) -> nn.Module:
    return DropPath(rate) if rate > 0 else nn.Identity()


class GatedBlock(nn.Module):
    def __init__(self, form: Gated, mixer: Mixer, width: int, drop_path: float) -> None:
        super().__init__()
        hidden, mixed = int(form.expansion * width), form.mixed_channels(width)
        self.split = [hidden, hidden - mixed, mixed]
        self.norm = build_norm(form.norm, width, narrow=True)
        self.proj_in = nn.Linear(width, 2 * hidden)
        self.act = build_activation(form.act)
        self.mixer = mixer.build(mixed, width)
        self.proj_out = nn.Linear(hidden, width)
        self.scale = optional_scale(width, form.layer_scale)
        self.drop_path = drop_path_module(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D) -> (B, H, W, D)
        if not torch.jit.is_scripting():  # type: ignore[attr-defined]
            if fuses(self, x):
                return fused(self, x)
        gate, identity, mixed = self.proj_in(self.norm(x)).split(self.split, dim=-1)
        y = torch.cat((identity, self.mixer(mixed)), dim=-1)
        return x + self.drop_path(self.scale(self.proj_out(self.act(gate) * y)))


class MetaFormerBlock(nn.Module):
    def __init__(self, form: MetaFormer, mixer: Mixer, width: int, drop_path: float) -> None:
        super().__init__()
        mixed, hidden = form.mixed_channels(width), int(form.mlp_ratio * width)
        residual = 1.0 if form.res_scale else None
        self.norm = build_norm(form.norm, width, narrow=True)
        self.proj_in: nn.Module = nn.Identity()
        if form.expansion is not None:
            self.proj_in = nn.Linear(width, mixed * (2 if form.gate else 1), form.bias)
        self.gate = None if form.gate is None else build_activation(form.gate)
        self.mixer = mixer.build(mixed, width)
        self.proj_out = nn.Linear(mixed, width, form.bias)
        self.scale = optional_scale(width, form.layer_scale)
        self.res_scale = optional_scale(width, residual)
        self.mlp = None
        if hidden:
            self.mlp = Mlp(width, hidden, form.act, form.norm, form.mlp_bias)
        self.mlp_scale = optional_scale(width, form.layer_scale if hidden else None)
        self.mlp_res_scale = optional_scale(width, residual if hidden else None)
        self.drop_path = drop_path_module(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D) -> (B, H, W, D)
        y = self.proj_in(self.norm(x))
        if self.gate is not None:
            y, gate = y.chunk(2, dim=-1)
            y = self.mixer(y) * self.gate(gate)
        else:
            y = self.mixer(y)
        x = self.res_scale(x) + self.drop_path(self.scale(self.proj_out(y)))
        if self.mlp is not None:
            x = self.mlp_res_scale(x) + self.drop_path(self.mlp_scale(self.mlp(x)))
        return x


class Mlp(nn.Module):
    """Norm, Linear, activation, Linear."""

    def __init__(
        self, width: int, hidden: int, act: Activation, norm: Norm, bias: bool = True
    ) -> None:
        super().__init__()
        self.norm = build_norm(norm, width, narrow=True)
        self.fc1 = nn.Linear(width, hidden, bias)
        self.act = build_activation(act)
        self.fc2 = nn.Linear(hidden, width, bias)

    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., D)
        return self.fc2(self.act(self.fc1(self.norm(x))))
