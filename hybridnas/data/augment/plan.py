"""All that is drawn for some batches, before a pixel is touched."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Drawn:
    """Float32 tensors with a row for each of S batches, on the device."""

    def at(self, step: Tensor) -> Self:
        """The rows of one batch; step: (1,) int64 on the device, so a CUDA graph can move it on."""
        rows = (getattr(self, field.name).index_select(0, step) for field in fields(self))
        return type(self)(*rows)

    def become(self, other: Self) -> None:
        """Takes the values of another one, where its own tensors lie."""
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))


_D = TypeVar("_D", bound=Drawn)


class Augment(Protocol[_D]):
    """In two halves: what happens to the images of some batches, and doing it to one batch."""

    def draw(
        self, sizes: Tensor, stored: tuple[int, int], generator: torch.Generator | None = None
    ) -> _D:
        """What happens to S batches of B pictures.

        sizes: (S, B, 2), true heights and widths of the pictures, on the device. stored: height and
        width of the tensor that holds them (ResidentImages.pixels).
        """

    def apply(
        self, images: Tensor, labels: Tensor, plan: _D, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Images (B, 3, R, R) float32, normalised, channels last, and their targets.

        images: (B, C, H, W) uint8 as stored. labels: (B,) int64. plan: of this one batch
        (Drawn.at). generator: of noise.
        """


@dataclass(frozen=True, eq=False)
class Plan(Drawn):
    """Of S batches of B images.

    windows: (S, B, 6): top, left, height, width in stored pixels; whether cubic; whether flipped.
    layers: (S, B, L, 9): of each layer of the policy the kind of operation (tones.Kind), its
        argument, the interpolation and the six numbers of its affine map.
    jitter: (S, B, 6): factors of brightness, contrast, colour, and their order.
    erased: (S, B, 4): top, left, height, width; no height where nothing is erased.
    mixed: (S, 1, 6): whether cut, the share of Mixup, top, left, height, width of CutMix.
    """

    windows: Tensor
    layers: Tensor
    jitter: Tensor
    erased: Tensor
    mixed: Tensor
