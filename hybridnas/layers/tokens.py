"""The stem of isotropic networks (DeiT, Vim): patches, learned positions, a class token.

With a class token the map becomes a sequence, kept as a map of height 1, so that every mixer
that takes any H and W takes it too.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from ..counting import Count, Size, conv2d, conv_size
from ..errors import ArchitectureError
from .stems import ClassToken, Stem

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass(frozen=True)
class Tokens(Stem):
    """patch: side of the square that a token stands for, in pixels. grid: side of the map that
    positions are learned for (14: 224 px); other maps get them interpolated.
    class_token: where one stands among the patches; 'none' keeps the map."""

    patch: int = 16
    grid: int = 14
    class_token: ClassToken = "first"

    def check(self) -> None:
        if self.patch < 1 or self.grid < 1:
            raise ArchitectureError(
                f"{self.label}: patch and grid must be positive, got {self.patch} and {self.grid}"
            )

    @property
    def token_place(self) -> ClassToken:
        return self.class_token

    @property
    def stride(self) -> int:
        return self.patch

    def build(self, in_chans: int, width: int) -> nn.Module:
        from .modules.tokens import TokensStem

        return TokensStem(self, in_chans, width)

    def count(self, in_chans: int, width: int, size: Size) -> tuple[Count, Size]:
        at = conv_size(size, self.patch, self.patch, 0)
        tokens, extra = at[0] * at[1], self.class_token != "none"
        learned = Count((self.grid**2 + 2 * extra) * width)  # positions, and the token itself
        total = conv2d(tokens, in_chans, width, self.patch) + learned
        return total, (1, tokens + 1) if extra else at
