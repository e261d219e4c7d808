"""Heads of dense tasks in closed form, as published figures count them.

Convolutions and linear layers only: norms, activations, pooling, interpolation and RoIAlign count
nothing in the figures of the papers, and a test holds the sums to those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..counting import Count, Size, conv2d, linear

Map = tuple[int, Size]  # channels and size of a stage's output


def upernet(maps: Sequence[Map], num_classes: int, width: int = 512) -> Count:
    """UperNet (Xiao et al., ECCV 2018) as mmsegmentation configures it for backbones: 512
    channels, pooling to 1, 2, 3 and 6, LayerNorm on each map (hybridnas.heads.UPerNet); without
    the auxiliary head, which serves training only.

    maps: the stages' outputs, finest first. width: channels of the head.
    """
    pools = (1, 2, 3, 6)
    *finer, (last, (height, breadth)) = maps
    total = Count(2 * sum(channels for channels, _ in maps))  # LayerNorm
    for side in pools:
        total += conv2d(side * side, last, width, 1, bias=False)
    total += conv2d(height * breadth, last + len(pools) * width, width, 3, bias=False)
    for channels, (h, w) in finer:
        total += conv2d(h * w, channels, width, 1, bias=False)  # lateral
        total += conv2d(h * w, width, width, 3, bias=False)  # after the sum from above
    h, w = maps[0][1]
    total += conv2d(h * w, len(maps) * width, width, 3, bias=False)
    norms = len(pools) + 1 + 2 * len(finer) + 1  # BatchNorm after each convolution: no MACs here
    return total + Count(2 * width * norms) + conv2d(h * w, width, num_classes, 1)


def mask_rcnn(maps: Sequence[Map], num_classes: int, width: int = 256) -> Count:
    """Mask R-CNN (He et al., ICCV 2017) with FPN as mmdetection configures it for R50: 256
    channels, 3 anchors a position, 1000 proposals, masks of 28 x 28 for 100 detections.

    maps: the stages' outputs, finest first; one more level is pooled from the last. width: channels
    of the pyramid and the masks' convolutions; boxes get four times as many hidden units.
    """
    anchors, proposals, detections, hidden = 3, 1000, 100, 4 * width
    sizes = [size for _, size in maps]
    levels = [*sizes, ((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2)]
    total = Count()
    for channels, (h, w) in maps:
        total += conv2d(h * w, channels, width, 1) + conv2d(h * w, width, width, 3)
    positions = sum(h * w for h, w in levels)  # the proposal network is shared by the levels
    total += conv2d(positions, width, width, 3) + conv2d(positions, width, anchors * 5, 1)
    total += linear(proposals, 7 * 7 * width, hidden) + linear(proposals, hidden, hidden)
    total += linear(proposals, hidden, num_classes + 1) + linear(proposals, hidden, 4 * num_classes)
    total += conv2d(detections * 14 * 14, width, width, 3) * 4
    # A transposed convolution 2x2 s2: each of its inputs meets all its weights.
    total += conv2d(detections * 14 * 14, width, 4 * width, 1) + Count(-3 * width)
    return total + conv2d(detections * 28 * 28, width, num_classes, 1)


DENSE_HEADS: dict[str | None, Callable[..., Count]] = {
    "segmentation": upernet,
    "detection": mask_rcnn,
}
