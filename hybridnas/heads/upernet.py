"""UperNet (Xiao et al., ECCV 2018, arXiv 1807.10221) on our networks, for semantic segmentation.

The network of mmsegmentation's recipes for backbones of this kind: 512 channels, pooling to 1, 2,
3 and 6, an auxiliary FCN head of 256 channels, and a LayerNorm on the output of every stage, as
Swin and MambaOut have it. segmentation_models_pytorch's UPerNet has the same decoder, but no
auxiliary segmentation head and no dropout, stretches the logits to other grid points
(align_corners), and takes only sizes that its strides divide.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import ConfigError
from ..network import HybridNet
from ..norms import build_norm

_POOLED_SIDES = (1, 2, 3, 6)


class UPerNet(nn.Module):
    """Images (B, 3, H, W) -> logits (B, num_classes, H, W); while training (logits, auxiliary
    logits), both of that shape.

    backbone: its classifier is dropped. All its stages are used, and two or more are needed: the
    last one is pooled, the one before it feeds the auxiliary head (of four: the third). H, W: any
    that the backbone takes. width, aux_width: channels of the two heads. dropout: of whole
    channels, before the classifiers.

    Raises ConfigError for a network of one stage, whose maps are no pyramid.
    """

    def __init__(
        self,
        backbone: HybridNet,
        num_classes: int,
        *,
        width: int = 512,
        aux_width: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if len(backbone.architecture.stages) < 2:
            raise ConfigError(
                "segmentation needs a pyramid of maps: an architecture of two or more stages"
            )
        channels = [info["num_chs"] for info in backbone.feature_info]
        backbone.prune_intermediate_layers(list(range(len(channels))), prune_norm=True)
        self.num_classes = num_classes
        self.backbone = backbone
        # Convolutions read them, so under autocast they need not be in float32.
        self.norms = nn.ModuleList(build_norm("layer", c, narrow=True) for c in channels)
        self.decode_head = _PyramidHead(channels, num_classes, width, dropout)
        self.auxiliary_head = nn.Sequential(
            _ConvNormReLU(channels[-2], aux_width, 3),
            nn.Dropout2d(dropout),
            nn.Conv2d(aux_width, num_classes, 1),
        )
        for head in (self.decode_head, self.auxiliary_head):
            head.apply(_init_weights)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        maps = [
            # (B, H', W', C) seen as (B, C, H', W'): channels last in memory, not a copy.
            norm(x).permute(0, 3, 1, 2)
            for norm, x in zip(self.norms, self._maps(images), strict=True)
        ]
        size = images.shape[2:]
        logits = self.decode_head(maps)
        if not self.training:
            return _resize(logits, size)
        return _stretch(logits, size), _stretch(self.auxiliary_head(maps[-2]), size)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that weight decay leaves alone, besides biases and norms."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def _maps(self, images: Tensor) -> list[Tensor]:
        found = self.backbone.forward_intermediates(
            images, output_fmt="NHWC", intermediates_only=True
        )
        assert isinstance(found, list)
        return found


class _ConvNormReLU(nn.Sequential):
    """A k x k convolution that keeps the size of the map (B, C, H, W)."""

    def __init__(self, fan_in: int, fan_out: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(fan_in, fan_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(fan_out),
            nn.ReLU(inplace=True),
        )


class _PooledContext(nn.Module):
    """Pyramid pooling (Zhao et al., CVPR 2017, section 3.2): (B, C, H, W) -> (B, width, H, W)."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(side), _ConvNormReLU(channels, width, 1))
            for side in _POOLED_SIDES
        )
        self.fuse = _ConvNormReLU(channels + len(_POOLED_SIDES) * width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fuse(torch.cat([x, *(_resize(pool(x), x.shape[2:]) for pool in self.pools)], 1))


class _PyramidHead(nn.Module):
    """The decoder: maps (B, C_i, H_i, W_i), finest first -> logits (B, num_classes, H_0, W_0)."""

    def __init__(
        self, channels: Sequence[int], num_classes: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        *finer, last = channels
        self.context = _PooledContext(last, width)
        self.laterals = nn.ModuleList(_ConvNormReLU(c, width, 1) for c in finer)
        self.smooths = nn.ModuleList(_ConvNormReLU(width, width, 3) for _ in finer)
        self.fuse = _ConvNormReLU(len(channels) * width, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        *finer, last = maps
        above = self.context(last)
        outputs = [above]
        for x, lateral, smooth in zip(
            reversed(finer), reversed(self.laterals), reversed(self.smooths), strict=True
        ):
            above = lateral(x) + _resize(above, x.shape[2:])
            outputs.insert(0, smooth(above))
        size = maps[0].shape[2:]
        fused = self.fuse(torch.cat([_resize(x, size) for x in outputs], 1))
        return self.classifier(self.dropout(fused))


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) -> (B, C, *size), corners not aligned."""
    if x.shape[2:] == tuple(size):
        return x
    return F.interpolate(x, list(size), mode="bilinear", align_corners=False)


def _stretch(x: Tensor, size: Sequence[int]) -> Tensor:
    """`_resize` by a product along each side.

    The gradient of F.interpolate adds pixel after pixel to the same places: a fifth of a step with
    11 classes. That of products is products.
    """
    height, width = (
        _weights_along(x, side, length) for side, length in zip((2, 3), size, strict=True)
    )
    return height.T @ (x @ width)


def _weights_along(x: Tensor, side: int, length: int) -> Tensor:
    """(x's length there, length): what each of its places counts in each of the new ones."""
    places = torch.eye(x.shape[side], dtype=x.dtype, device=x.device)
    return F.interpolate(places[None], length, mode="linear", align_corners=False)[0]


def _init_weights(module: nn.Module) -> None:
    """Convolutions for their ReLU (He et al., ICCV 2015), classifiers for no activation (Glorot &
    Bengio, AISTATS 2010). mmsegmentation starts these near zero (0.01), which short trainings
    never make up for (studies/LOG.md)."""
    if isinstance(module, nn.Conv2d):
        if module.bias is None:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
