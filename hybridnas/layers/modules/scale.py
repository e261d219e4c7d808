"""A learned factor a channel: LayerScale on a branch, ResScale on a residual."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """x * scale, one factor a channel (LayerScale: Touvron et al., arXiv 2103.17239)."""

    def __init__(self, width: int, value: float) -> None:
        super().__init__()
        self.value = value
        self.scale = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.constant_(self.scale, self.value)

    def forward(self, x: Tensor) -> Tensor:  # (..., C) -> (..., C)
        return x * self.scale


def optional_scale(width: int, value: float | None) -> nn.Module:
    """A Scale that starts at value; nothing where value is None."""
    return nn.Identity() if value is None else Scale(width, value)
