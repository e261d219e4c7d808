"""Classification heads: norm, pooling over the map, then an MLP or one linear layer."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..counting import Activation, Count, Norm, Size, count_activation, count_norm, linear
from ..errors import ArchitectureError
from ..parts import Part

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True)
class Head(Part, abc.ABC):
    """Options of a head: map (B, H, W, width) -> logits (B, num_classes).

    norm_first: the norm stands before the pooling, on every token, and not after it.
    """

    kind: ClassVar[str] = "head"
    norm: Norm = "layer"
    norm_first: bool = False

    def check(self) -> None:
        if self.norm == "batch" and not self.norm_first:
            raise ArchitectureError(f"{self.label}: norm 'batch' works on maps: set norm_first")

    @abc.abstractmethod
    def hidden(self, width: int) -> int:
        """Width of the hidden layer; 0: none."""

    @abc.abstractmethod
    def build_hidden(self, width: int) -> nn.Module:
        """The hidden layer, (..., width) -> (..., hidden); the identity where there is none."""

    @abc.abstractmethod
    def count_hidden(self, width: int) -> Count: ...

    def count(self, width: int, num_classes: int, size: Size) -> Count:
        """Cost on a map of that size, with the pooling that a network has by default."""
        total = count_norm(self.norm, size[0] * size[1] if self.norm_first else 1, width)
        classifier = linear(1, self.hidden(width) or width, num_classes) * bool(num_classes)
        return total + self.count_hidden(width) + classifier


@dataclasses.dataclass(frozen=True)
class LinearHead(Head):
    """Norm and one linear layer."""

    def hidden(self, width: int) -> int:
        return 0

    def build_hidden(self, width: int) -> nn.Module:
        from torch import nn

        return nn.Identity()

    def count_hidden(self, width: int) -> Count:
        return Count()


@dataclasses.dataclass(frozen=True)
class MlpHead(Head):
    """Norm, Linear, activation, LayerNorm, Linear (MambaOut, ConvFormer). ratio: hidden over
    width. hidden_norm: whether the second norm is there (not in timm's MambaOut `_rw`)."""

    ratio: float = 4.0
    act: Activation = "gelu"
    hidden_norm: bool = True

    def check(self) -> None:
        super().check()
        if self.ratio <= 0:
            raise ArchitectureError(f"{self.label}: ratio must be positive, got {self.ratio:g}")

    def hidden(self, width: int) -> int:
        return int(self.ratio * width)

    def build_hidden(self, width: int) -> nn.Module:
        from torch import nn

        from .modules.heads import PreLogits

        return PreLogits(self, width) if self.hidden(width) else nn.Identity()

    def count_hidden(self, width: int) -> Count:
        hidden = self.hidden(width)
        if not hidden:  # a ratio may leave none of a small width
            return Count()
        norm = count_norm("layer" if self.hidden_norm else "none", 1, hidden)
        return linear(1, width, hidden) + count_activation(self.act) + norm
