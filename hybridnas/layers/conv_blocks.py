"""Block forms of convolutional networks: ConvNeXt's, and ResNet's basic block."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..counting import Activation, Count, Norm, Size, count_activation, count_norm
from ..errors import ArchitectureError
from ..mixers import Mixer
from .blocks import Form, count_mlp

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True)
class ConvNeXt(Form):
    """x + scale * MLP(norm(mix(x))): the mixer reads the map before any norm.

    mlp_ratio: hidden over block width. layer_scale: what a factor a channel starts at.
    """

    mlp_ratio: float = 4.0
    act: Activation = "gelu"
    norm: Norm = "layer"
    layer_scale: float | None = 1e-6

    def check(self) -> None:
        if self.mlp_ratio <= 0:
            raise ArchitectureError(f"{self.label}: mlp_ratio must be positive")

    def mixed_channels(self, width: int) -> int:
        return width

    def check_width(self, mixer: Mixer, width: int) -> None:
        if self.mlp_ratio * width < 1:
            raise ArchitectureError(f"{self.label}: leaves no channels of a width of {width}")
        super().check_width(mixer, width)

    def build(self, mixer: Mixer, width: int, drop_path: float) -> nn.Module:
        from .modules.conv_blocks import ConvNeXtBlock

        return ConvNeXtBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        mlp = count_mlp(tokens, width, int(self.mlp_ratio * width), self.act, self.norm)
        scale = Count(width * (self.layer_scale is not None))
        return mixer.count(width, width, size) + mlp + scale


@dataclasses.dataclass(frozen=True)
class Basic(Form):
    """x + norm(mix(act(norm(mix(x))))): the mixer stands twice, with weights of its own each time.

    layer_scale: what a factor a channel on the branch starts at; None: no such factor.
    """

    act: Activation = "relu"
    norm: Norm = "batch"
    layer_scale: float | None = None

    def mixed_channels(self, width: int) -> int:
        return width

    def build(self, mixer: Mixer, width: int, drop_path: float) -> nn.Module:
        from .modules.conv_blocks import BasicBlock

        return BasicBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        once = mixer.count(width, width, size) + count_norm(self.norm, size[0] * size[1], width)
        scale = Count(width * (self.layer_scale is not None))
        return once * 2 + count_activation(self.act) + scale
