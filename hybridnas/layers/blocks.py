"""Block forms: how a mixer is wrapped into a residual block. All maps are channels-last.

`gated` is the skeleton that MambaOut compares mixers in (Yu & Wang, CVPR 2025, eq. 8-11), in the
form of its released Gated CNN block: x + Out(act(g) * concat(i, mix(c))).
`metaformer` has two residuals, mixer and MLP (Yu et al., CVPR 2022); with an input projection it
is VMamba's block (Liu et al., 2024), with a gate and no MLP its first version's, or Vim's.
`convnext` is one residual around mixer and MLP (Liu et al., CVPR 2022), `basic` one around two
mixers, each with a norm (ResNet's basic block, and MambaVision's in its first stages).
"""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..counting import Activation, Count, Norm, Size, count_activation, count_norm, linear
from ..errors import ArchitectureError
from ..mixers import Mixer
from ..parts import Part

if TYPE_CHECKING:
    from torch import nn


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
    the hidden width). Both products are cut to whole channels, as published. layer_scale: what a
    factor a channel on the branch starts at."""

    expansion: float = 8 / 3
    conv_ratio: float = 1.0
    act: Activation = "gelu"
    norm: Norm = "layer"
    layer_scale: float | None = None

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
        from .modules.blocks import GatedBlock

        return GatedBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        hidden = int(self.expansion * width)
        around = linear(tokens, width, 2 * hidden) + linear(tokens, hidden, width)
        inner = mixer.count(self.mixed_channels(width), width, size) + count_activation(self.act)
        scale = Count(width * (self.layer_scale is not None))
        return count_norm(self.norm, tokens, width) + around + inner + scale


@dataclasses.dataclass(frozen=True)
class MetaFormer(Form):
    """expansion: width of the mixer over block width, through an input projection; None: the
    mixer reads the block's own channels. mlp_ratio: hidden over block width, 0: no MLP.

    act: of the MLP. gate: activation of a second half of the input projection, which the mixer's
    output is multiplied by; None: no gate. bias: of the projections; mlp_bias: of the MLP.
    layer_scale: what a factor a channel on each branch starts at. res_scale: such a factor on
    the residuals too (from 1), as ConvFormer has in its last two stages.
    """

    expansion: float | None = None
    mlp_ratio: float = 4.0
    act: Activation = "gelu"
    gate: Activation | None = None
    norm: Norm = "layer"
    bias: bool = True
    mlp_bias: bool = True
    layer_scale: float | None = None
    res_scale: bool = False

    def check(self) -> None:
        if (self.expansion is not None and self.expansion <= 0) or self.mlp_ratio < 0:
            raise ArchitectureError(
                f"{self.label}: needs expansion > 0 (or none) and mlp_ratio >= 0, "
                f"got expansion {self.expansion} and mlp_ratio {self.mlp_ratio:g}"
            )
        if self.gate is not None and self.expansion is None:
            raise ArchitectureError(
                f"{self.label}: gate {self.gate!r} needs an input projection: give expansion"
            )

    def mixed_channels(self, width: int) -> int:
        return width if self.expansion is None else int(self.expansion * width)

    def check_width(self, mixer: Mixer, width: int) -> None:
        if self.mixed_channels(width) < 1 or (self.mlp_ratio and self.mlp_ratio * width < 1):
            raise ArchitectureError(f"{self.label}: leaves no channels of a width of {width}")
        super().check_width(mixer, width)

    def build(self, mixer: Mixer, width: int, drop_path: float) -> nn.Module:
        from .modules.blocks import MetaFormerBlock

        return MetaFormerBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        mixed, hidden = self.mixed_channels(width), int(self.mlp_ratio * width)
        total = count_norm(self.norm, tokens, width) + mixer.count(mixed, width, size)
        total += linear(tokens, mixed, width, self.bias)
        if self.expansion is not None:
            total += linear(tokens, width, mixed * (2 if self.gate else 1), self.bias)
        if self.gate is not None:
            total += count_activation(self.gate)
        if hidden:
            total += count_mlp(tokens, width, hidden, self.act, self.norm, self.mlp_bias)
        scales = (self.layer_scale is not None) + self.res_scale
        return total + Count(scales * width * (2 if hidden else 1))


def count_mlp(
    tokens: int, width: int, hidden: int, act: Activation, norm: Norm, bias: bool = True
) -> Count:
    """What an Mlp costs at that many tokens."""
    layers = linear(tokens, width, hidden, bias) + linear(tokens, hidden, width, bias)
    return count_norm(norm, tokens, width) + layers + count_activation(act)
