"""Mask R-CNN (He et al., ICCV 2017) with a feature pyramid (Lin et al., CVPR 2017): torchvision's,
on a backbone of ours.

It costs what `hybridnas.cost.dense` counts, plus the outputs for the background that torchvision's
last layers have (boxes and masks) and the norms of the stages' outputs, which the convention of
published figures leaves out.
"""

from __future__ import annotations

import itertools
from typing import Any

from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.ops.poolers import initLevelMapper

from ..errors import ConfigError

_RATIOS = (0.5, 1.0, 2.0)


class Detector(MaskRCNN):  # type: ignore[misc] # torchvision has no types
    """torchvision's, for images that are resized already where it is trained.

    Training: `detector(images, targets)` gives torchvision's five losses by name; images are
    (3, H, W) from 0 to 1 of any size, targets as `data.coco.Target`. Evaluation: images in their
    own size; gives boxes, labels, scores and masks (n, 1, H, W) in that size.
    """

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that the backbone keeps from weight decay."""
        return {
            f"{prefix}.{name}"
            for prefix, module in self.backbone.named_modules(prefix="backbone")
            if callable(names := getattr(module, "no_weight_decay", None))
            for name in names()
        }


def mask_rcnn(
    features: nn.Module,
    num_classes: int,
    *,
    shorter: int = 800,
    longer: int = 1333,
    anchor: float = 32.0,
    width: int = 256,
    rois_per_image: int = 512,
    norm: bool = True,
) -> Detector:
    """A detector of `num_classes` kinds of objects (the background not counted), untrained heads.

    features: a timm model with `features_only`, whose maps (NCHW) halve from one to the next.
    shorter, longer: what images are resized to where they are scored. anchor: side of the smallest
    anchors in pixels, doubling from level to level. width: channels of the pyramid and the masks'
    convolutions; boxes get four times as many hidden units. rois_per_image: sampled in training.
    norm: LayerNorm on each map, as the published recipes of ConvNeXt, Swin and VMamba have it.
    Raises ConfigError where there is no pyramid.
    """
    strides = _checked_strides(features)
    levels = len(strides) + 1  # one more is pooled from the last
    anchors = AnchorGenerator(tuple((anchor * 2**i,) for i in range(levels)), (_RATIOS,) * levels)
    hidden, outputs = 4 * width, num_classes + 1
    return Detector(
        Pyramid(features, width, norm),
        min_size=shorter,
        max_size=longer,
        size_divisible=max(32, strides[-1]),
        _skip_resize=True,  # in training alone
        rpn_anchor_generator=anchors,
        rpn_head=_ProposalHead(width, len(_RATIOS)),
        box_roi_pool=_roi_align(7, strides),
        box_head=TwoMLPHead(width * 7 * 7, hidden),
        box_predictor=_BoxPredictor(hidden, outputs),
        box_batch_size_per_image=rois_per_image,
        mask_roi_pool=_roi_align(14, strides),
        mask_head=MaskRCNNHeads(width, (width,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(width, width, outputs),
    )


class Pyramid(nn.Module):
    """Images (B, 3, H, W) to maps of one width by name: '0' the finest, 'pool' the coarsest.

    In float32 whatever autocast made of them: anchors and boxes take the type of the maps, and
    bfloat16 cannot tell pixel 1000 from 1003.
    """

    def __init__(self, features: Any, width: int, norm: bool) -> None:
        super().__init__()
        self.body = features
        channels = features.feature_info.channels()
        self.norms = nn.ModuleList(LayerNorm2d(c) if norm else nn.Identity() for c in channels)
        self.fpn = FeaturePyramidNetwork(channels, width, extra_blocks=LastLevelMaxPool())
        self.out_channels = width

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        maps = zip(self.norms, self.body(images), strict=True)
        levels = self.fpn({str(i): norm(y) for i, (norm, y) in enumerate(maps)})
        return {name: level.float() for name, level in levels.items()}


class _ProposalHead(RPNHead):  # type: ignore[misc]
    """torchvision's, with offsets of boxes in float32 (see Pyramid)."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits, offsets = super().forward(x)
        return [y.float() for y in logits], [y.float() for y in offsets]


class _BoxPredictor(FastRCNNPredictor):  # type: ignore[misc]
    """torchvision's, with offsets of boxes in float32 (see Pyramid)."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        logits, offsets = super().forward(x)
        return logits.float(), offsets.float()


def _checked_strides(features: Any) -> list[int]:
    strides: list[int] = features.feature_info.reduction()
    if len(strides) < 2 or any(b != 2 * a for a, b in itertools.pairwise(strides)):
        raise ConfigError(
            "detection needs a pyramid of maps: an architecture of two or more stages; the strides "
            f"of this one's maps are {', '.join(map(str, strides))}"
        )
    if strides[0].bit_count() != 1:
        raise ConfigError(
            f"detection needs maps with strides that are powers of two, these are "
            f"{', '.join(map(str, strides))}"
        )
    return strides


def _roi_align(size: int, strides: list[int]) -> MultiScaleRoIAlign:
    names = [str(i) for i in range(len(strides))]
    pool = MultiScaleRoIAlign(names, output_size=size, sampling_ratio=2)
    # Left to itself it guesses the strides from the first batch, wrongly where images are small.
    pool.scales = [1 / stride for stride in strides]
    pool.map_levels = initLevelMapper(strides[0].bit_length() - 1, strides[-1].bit_length() - 1)
    return pool
