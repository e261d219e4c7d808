"""What every token mixer promises."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar

from ..counting import Count, Size
from ..parts import Part

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True)
class Mixer(Part, abc.ABC):
    """Options of a token mixer, which maps (B, H, W, channels) to the same shape, any H and W.

    A mixer holds no projection of the block around it: the block's form splits off the channels
    to mix and projects back (hybridnas.layers.blocks).
    """

    kind: ClassVar[str] = "mixer"
    letter: ClassVar[str] = "?"  # stands for the mixer in short forms such as G3-G3-S9-A3

    @abc.abstractmethod
    def build(self, channels: int, width: int) -> nn.Module:
        """The module, (B, H, W, channels) -> (B, H, W, channels).

        width: channels of the residual stream of the block around it.
        """

    @abc.abstractmethod
    def count(self, channels: int, width: int, size: Size) -> Count:
        """Its cost on one map of that size (height, width)."""

    def check_channels(self, channels: int) -> None:
        """Raises ArchitectureError where the mixer cannot work on that many channels."""
