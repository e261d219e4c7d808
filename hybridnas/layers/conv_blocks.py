"""Block forms of convolutional networks: ConvNeXt's, and ResNet's basic block."""

from __future__ import annotations

import dataclasses

from torch import Tensor, nn

from ..activations import Activation, build_activation, count_activation
from ..counting import Count, Size
from ..errors import ArchitectureError
from ..mixers import Mixer
from ..norms import Norm, build_norm, count_norm
from .blocks import Form, Mlp, count_mlp, drop_path_module
from .scale import optional_scale


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
        return ConvNeXtBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        tokens = size[0] * size[1]
        mlp = count_mlp(tokens, width, int(self.mlp_ratio * width), self.act, self.norm)
        scale = Count(width * (self.layer_scale is not None))
        return mixer.count(width, width, size) + mlp + scale


class ConvNeXtBlock(nn.Module):
    def __init__(self, form: ConvNeXt, mixer: Mixer, width: int, drop_path: float) -> None:
        super().__init__()
        self.mixer = mixer.build(width, width)
        self.mlp = Mlp(width, int(form.mlp_ratio * width), form.act, form.norm)
        self.scale = optional_scale(width, form.layer_scale)
        self.drop_path = drop_path_module(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, D) -> (B, H, W, D)
        return x + self.drop_path(self.scale(self.mlp(self.mixer(x))))


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
        return BasicBlock(self, mixer, width, drop_path)

    def count(self, mixer: Mixer, width: int, size: Size) -> Count:
        once = mixer.count(width, width, size) + count_norm(self.norm, size[0] * size[1], width)
        scale = Count(width * (self.layer_scale is not None))
        return once * 2 + count_activation(self.act) + scale


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
