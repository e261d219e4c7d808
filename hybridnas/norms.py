"""Normalisations over the last axis of channels-last maps, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor, nn

from .counting import Count

Norm = Literal["layer", "layer_1e-5", "layer_no_bias", "rms", "batch", "none"]


class BatchNorm(nn.Module):
    """BatchNorm2d on a channels-last map.

    It holds torch's own module, so that `SyncBatchNorm.convert_sync_batchnorm` finds it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return self.bn(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class NormSpec:
    """build: the module for a width. params: a channel. macs: an element, by fvcore's rules, which
    have none for RMSNorm: it is counted as LayerNorm."""

    build: Callable[[int], nn.Module]
    params: int
    macs: int


NORMS: dict[Norm, NormSpec] = {
    "layer": NormSpec(partial(nn.LayerNorm, eps=1e-6), 2, 5),
    "layer_1e-5": NormSpec(partial(nn.LayerNorm, eps=1e-5), 2, 5),  # VMamba's and its heirs'
    "layer_no_bias": NormSpec(partial(nn.LayerNorm, eps=1e-6, bias=False), 1, 5),  # CAFormer's
    "rms": NormSpec(partial(nn.RMSNorm, eps=1e-5), 1, 5),  # Vim's
    "batch": NormSpec(BatchNorm, 2, 2),
    "none": NormSpec(lambda _: nn.Identity(), 0, 0),
}


def build_norm(norm: Norm, width: int) -> nn.Module:
    return NORMS[norm].build(width)


def count_norm(norm: Norm, positions: int, width: int) -> Count:
    """Of a norm over `width` channels at `positions` tokens."""
    spec = NORMS[norm]
    return Count(spec.params * width, spec.macs * positions * width)
