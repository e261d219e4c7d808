"""Block forms: how a mixer is wrapped into a residual block. All maps are channels-last.

`gated` is the skeleton that MambaOut compares mixers in (Yu & Wang, CVPR 2025, eq. 8-11), in the
form of its released Gated CNN block: x + Out(act(g) * concat(i, mix(c))).
`metaformer` has two residuals, mixer and MLP (Yu et al., CVPR 2022); with an input projection it
is VMamba's block (Liu et al., 2024).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from ..counting import Count, Size, layer_norm, linear
from ..errors import ArchitectureError
from ..mixers import Mixer
from ..parts import Part

Activation = Literal["gelu", "silu"]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "silu": F.silu}


def norm(width: int) -> nn.LayerNorm:
    """The LayerNorm of all our networks, over the last axis."""
    return nn.LayerNorm(width, eps=1e-6)


def _drop_path(rate: float) -> nn.Module:
    return DropPath(rate) if rate > 0 else nn.Identity()


@dataclasses.dataclass(frozen=True)
class Form(Part, abc.ABC):
    """Options of a residual block around a mixer: (B, H, W, width) -> (B, H, W, width)."""

    kind: ClassVar[str] = "form"

    @abc.abstractmethod
    def build(self, mixer: Mixer, width: int, drop_path: float) -> nn.Module:
        """The module; drop_path is the probability that a residual is left out in training."""

    @abc.abstractmethod
    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        """Cost of the block, mixer included, on one map of that size (height, width)."""

    @abc.abstractmethod
    def mixed_channels(self, width: int) -> int:
        """How many channels the mixer gets in a stage of that width."""

    def check_width(self, mixer: Mixer, width: int) -> None:
        """Raises ArchitectureError where form and mixer do not fit that width."""
        mixer.check_channels(self.mixed_channels(width))


@dataclasses.dataclass(frozen=True)
class Gated(Form):
    """expansion: hidden over block width. conv_ratio: mixed channels over block width (not over
    the hidden width). Both products are cut to whole channels, as published."""

    expansion: float = 8 / 3
    conv_ratio: float = 1.0
    act: Activation = "gelu"

    def check(self) -> None:
        if self.expansion <= 0 or not 0 < self.conv_ratio <= self.expansion:
            raise ArchitectureError(
                f"{self.label}: needs 0 < conv_ratio <= expansion, "
                f"got conv_ratio {self.conv_ratio:g} and expansion {self.expansion:g}"
            )

    def mixed_channels(self, width: int) -> int:
        return int(self.conv_ratio * width)

    def check_width(self, mixer: Mixer, width: int) -> None:
        if self.mixed_channels(width) < 1:
            raise ArchitectureError(
                f"{self.label}: conv_ratio {self.conv_ratio:g} leaves nothing to mix of {width}"
            )
        super().check_width(mixer, width)

    def build(self, mixer: Mixer, width: int, drop_path: float) -> nn.Module:
        return GatedBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        hidden = int(self.expansion * width)
        around = linear(tokens, width, 2 * hidden) + linear(tokens, hidden, width)
        inner = mixer.count(self.mixed_channels(width), width, size)
        return layer_norm(tokens, width) + around + inner


class GatedBlock(nn.Module):
    def __init__(self, form: Gated, mixer: Mixer, width: int, drop_path: float) -> None:
        super().__init__()
        hidden, mixed = int(form.expansion * width), form.mixed_channels(width)
        self.split = (hidden, hidden - mixed, mixed)
        self.norm = norm(width)
        self.proj_in = nn.Linear(width, 2 * hidden)
        self.act = _ACTIVATIONS[form.act]
        self.mixer = mixer.build(mixed, width)
        self.proj_out = nn.Linear(hidden, width)
        self.drop_path = _drop_path(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D) -> (B, H, W, D)
        gate, identity, mixed = self.proj_in(self.norm(x)).split(self.split, dim=-1)
        y = torch.cat((identity, self.mixer(mixed)), dim=-1)
        return x + self.drop_path(self.proj_out(self.act(gate) * y))


@dataclasses.dataclass(frozen=True)
class MetaFormer(Form):
    """expansion: width of the mixer over block width, through an input projection; None: the
    mixer reads the block's own channels. mlp_ratio: hidden over block width, 0: no MLP."""

    expansion: float | None = None
    mlp_ratio: float = 4.0
    act: Activation = "gelu"

    def check(self) -> None:
        if (self.expansion is not None and self.expansion <= 0) or self.mlp_ratio < 0:
            raise ArchitectureError(
                f"{self.label}: needs expansion > 0 (or none) and mlp_ratio >= 0, "
                f"got expansion {self.expansion} and mlp_ratio {self.mlp_ratio:g}"
            )

    def mixed_channels(self, width: int) -> int:
        return width if self.expansion is None else int(self.expansion * width)

    def check_width(self, mixer: Mixer, width: int) -> None:
        if self.mixed_channels(width) < 1 or (self.mlp_ratio and self.mlp_ratio * width < 1):
            raise ArchitectureError(f"{self.label}: leaves no channels of a width of {width}")
        super().check_width(mixer, width)

    def build(self, mixer: Mixer, width: int, drop_path: float) -> nn.Module:
        return MetaFormerBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        mixed, hidden = self.mixed_channels(width), int(self.mlp_ratio * width)
        total = layer_norm(tokens, width) + mixer.count(mixed, width, size)
        total += linear(tokens, mixed, width)
        if self.expansion is not None:
            total += linear(tokens, width, mixed)
        if hidden:
            total += layer_norm(tokens, width) + linear(tokens, width, hidden)
            total += linear(tokens, hidden, width)
        return total


class MetaFormerBlock(nn.Module):
    def __init__(self, form: MetaFormer, mixer: Mixer, width: int, drop_path: float) -> None:
        super().__init__()
        mixed, hidden = form.mixed_channels(width), int(form.mlp_ratio * width)
        self.norm = norm(width)
        self.proj_in = nn.Identity() if form.expansion is None else nn.Linear(width, mixed)
        self.mixer = mixer.build(mixed, width)
        self.proj_out = nn.Linear(mixed, width)
        self.mlp = Mlp(width, hidden, form.act) if hidden else None
        self.drop_path = _drop_path(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D) -> (B, H, W, D)
        x = x + self.drop_path(self.proj_out(self.mixer(self.proj_in(self.norm(x)))))
        return x if self.mlp is None else x + self.drop_path(self.mlp(x))


class Mlp(nn.Module):
    """LayerNorm, Linear, activation, Linear."""

    def __init__(self, width: int, hidden: int, act: Activation) -> None:
        super().__init__()
        self.norm = norm(width)
        self.fc1 = nn.Linear(width, hidden)
        self.act = _ACTIVATIONS[act]
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:  # (..., D) -> (..., D)
        return self.fc2(self.act(self.fc1(self.norm(x))))


FORMS: dict[str, type[Form]] = {"gated": Gated, "metaformer": MetaFormer}
