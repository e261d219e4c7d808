"""All that is drawn for some batches, before a pixel is touched."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """Float32 tensors with a row for each of S batches of B images, on the device.

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

    def __len__(self) -> int:
        """Batches."""
        return len(self.windows)

    def at(self, step: Tensor) -> Plan:
        """The plan of one batch; step: (1,) int64 on the device, so a CUDA graph can move it on."""
        return Plan(*(getattr(self, f.name).index_select(0, step) for f in fields(self)))
