"""Stems: from the image to the first map."""

from __future__ import annotations

import abc
import dataclasses
from typing import TYPE_CHECKING, ClassVar, Literal

from ..counting import (
    Activation,
    Count,
    Norm,
    Size,
    conv2d,
    conv_size,
    count_activation,
    count_norm,
)
from ..errors import ArchitectureError
from ..parts import Part

if TYPE_CHECKING:
    from torch import nn

ClassToken = Literal["none", "first", "middle"]


@dataclasses.dataclass(frozen=True)
class Stem(Part, abc.ABC):
    """Options of a stem: image (B, in_chans, H, W) -> map (B, H', W', width).

    A stem with a class token gives a sequence, as a map of height 1: (B, 1, L + 1, width). The
    first convolution of every stem's module is called conv1.
    """

    kind: ClassVar[str] = "stem"

    @property
    def token_place(self) -> ClassToken:
        """Where a class token stands among the tokens."""
        return "none"

    @property
    @abc.abstractmethod
    def stride(self) -> int:
        """Pixels of the image a token, along each side."""

    @abc.abstractmethod
    def build(self, in_chans: int, width: int) -> nn.Module: ...

    @abc.abstractmethod
    def count(self, in_chans: int, width: int, size: Size) -> tuple[Count, Size]:
        """Cost on an image of that size, and the size of the map."""

    def check_width(self, width: int) -> None:
        """Raises ArchitectureError where the stem cannot give that width."""


@dataclasses.dataclass(frozen=True)
class DoubleConv(Stem):
    """conv3x3 s2, norm, activation, conv3x3 s2, norm (MambaOut, VMamba, MambaVision).

    hidden: channels between the two; None: half the width. mid_norm: whether the first norm is
    there. last_act: whether the activation stands after the last norm too. bias: of the
    convolutions.
    """

    hidden: int | None = None
    mid_norm: bool = True
    last_act: bool = False
    act: Activation = "gelu"
    norm: Norm = "layer"
    bias: bool = True

    def check(self) -> None:
        if self.hidden is not None and self.hidden < 1:
            raise ArchitectureError(f"{self.label}: hidden must be positive, got {self.hidden}")

    def check_width(self, width: int) -> None:
        if width < 2:
            raise ArchitectureError(f"{self.label}: needs a width of 2 or more, got {width}")

    @property
    def stride(self) -> int:
        return 4

    def build(self, in_chans: int, width: int) -> nn.Module:
        from .modules.stems import DoubleConvStem

        return DoubleConvStem(self, in_chans, width)

    def count(self, in_chans: int, width: int, size: Size) -> tuple[Count, Size]:
        hidden = self.hidden or width // 2
        first = conv_size(size, 3, 2, 1)
        second = conv_size(first, 3, 2, 1)
        early, late = first[0] * first[1], second[0] * second[1]
        total = conv2d(early, in_chans, hidden, 3, bias=self.bias) + count_activation(self.act)
        if self.mid_norm:
            total += count_norm(self.norm, early, hidden)
        total += conv2d(late, hidden, width, 3, bias=self.bias)
        if self.last_act:
            total += count_activation(self.act)
        return total + count_norm(self.norm, late, width), second


@dataclasses.dataclass(frozen=True)
class Patch(Stem):
    """One convolution and a norm: 4 x 4 patches (ConvNeXt, VMamba's first version), or with
    kernel 7 and padding 2 patches that overlap (ConvFormer). step: the convolution's stride."""

    kernel: int = 4
    step: int = 4
    padding: int = 0
    norm: Norm = "layer"

    def check(self) -> None:
        if self.kernel < 1 or self.step < 1 or self.padding < 0:
            raise ArchitectureError(
                f"{self.label}: needs kernel and step of 1 or more and no padding below 0, got "
                f"kernel {self.kernel}, step {self.step}, padding {self.padding}"
            )

    @property
    def stride(self) -> int:
        return self.step

    def build(self, in_chans: int, width: int) -> nn.Module:
        from .modules.stems import PatchStem

        return PatchStem(self, in_chans, width)

    def count(self, in_chans: int, width: int, size: Size) -> tuple[Count, Size]:
        at = conv_size(size, self.kernel, self.step, self.padding)
        tokens = at[0] * at[1]
        conv = conv2d(tokens, in_chans, width, self.kernel)
        return conv + count_norm(self.norm, tokens, width), at
