"""Normalisations over the last axis of channels-last maps, by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .counting import Norm
from .kernels import autocast_dtype, layer_norm
from .tracing import untraced


class LayerNorm(nn.LayerNorm):
    """torch's, by our kernel where it runs.

    narrow: under autocast the result has autocast's type, not float32. For norms that feed
    matrix products, if through an activation: those would cast it anyway, in a pass of its own.
    """

    narrow = False  # not annotated: TorchScript cannot read the annotation of an attribute here

    def forward(self, x: Tensor) -> Tensor:  # (..., C) -> (..., C)
        return normalise(x, self.weight, self.bias, self.eps, self.narrow)


@untraced
def normalise(
    x: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],  # noqa: UP045 (TorchScript reads these annotations)
    eps: float,
    narrow: bool,
) -> Tensor:
    """Layer norm over the last axis."""
    if torch.jit.is_scripting() or bias is None:  # type: ignore[attr-defined]
        return F.layer_norm(x, weight.shape, weight, bias, eps)
    return layer_norm(x, weight, bias, eps, autocast_dtype(x) if narrow else None)


class BatchNorm(nn.Module):
    """BatchNorm2d on a channels-last map.

    It holds torch's own module, so that `SyncBatchNorm.convert_sync_batchnorm` finds it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W, C)
        return self.bn(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


NORMS: dict[Norm, Callable[[int], nn.Module]] = {
    "layer": partial(LayerNorm, eps=1e-6),
    "layer_1e-5": partial(LayerNorm, eps=1e-5),  # VMamba's and its heirs'
    "layer_no_bias": partial(LayerNorm, eps=1e-6, bias=False),  # CAFormer's
    "rms": partial(nn.RMSNorm, eps=1e-5),  # Vim's
    "batch": BatchNorm,
    "none": lambda _: nn.Identity(),
}


def build_norm(norm: Norm, width: int, narrow: bool = False) -> nn.Module:
    """narrow: only products read the result, see LayerNorm."""
    module = NORMS[norm](width)
    if isinstance(module, LayerNorm):
        module.narrow = narrow
    return module
