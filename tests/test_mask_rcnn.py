"""Mask R-CNN on our backbones: its cost against the closed form, its shapes, its precision."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.cost import cost
from hybridnas.cost.dense import mask_rcnn as closed_form
from hybridnas.errors import ConfigError
from hybridnas.heads import Detector, mask_rcnn
from hybridnas.layers.blocks import Gated
from hybridnas.layers.stems import Patch
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.mixers.ssm import SSM
from hybridnas.reference import reference
from hybridnas.timm_entry import build

torch.set_num_threads(1)

CONV = Block(Gated(), GatedConv())
WIDTHS = (16, 24, 32, 48, 64)


def architecture(num_stages: int, block: Block = CONV) -> Architecture:
    return Architecture(tuple(Stage(width, (block,)) for width in WIDTHS[:num_stages]))


def small(num_stages: int = 4, **given: Any) -> Detector:
    """For images of 96: it learns on a CPU."""
    torch.manual_seed(0)
    features = build(architecture(num_stages), features_only=True)
    return mask_rcnn(
        features, 2, shorter=96, longer=160, anchor=8, width=16, rois_per_image=16, **given
    )


def target(height: int, width: int, *boxes: tuple[int, ...]) -> dict[str, Tensor]:
    masks = torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": masks,
    }


# ---- cost


def macs(module: nn.Module, *inputs: Any) -> int:
    """Multiply-accumulates of convolutions and linear maps, as published figures count heads."""
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(
    ("name", "size", "width"),
    [("mambaout_tiny", (800, 1280), 256), ("convnext_tiny", (608, 1056), 40)],
)
def test_the_head_costs_what_the_closed_form_says(
    name: str, size: tuple[int, int], width: int, norm: bool
) -> None:
    with torch.device("meta"):
        features = build(reference(name), features_only=True)
        detector = mask_rcnn(features, 80, norm=norm, width=width)
        maps = features(torch.empty(1, 3, *size))
        named = {str(i): y for i, y in enumerate(maps)}
        levels = list(detector.backbone.fpn(named).values())
        heads, regions = detector.roi_heads, torch.empty(100, width, 14, 14)
        counted = (
            macs(detector.backbone.fpn, named)
            + macs(detector.rpn.head, levels)
            + macs(heads.box_head, torch.empty(1000, width, 7, 7))
            + macs(heads.box_predictor, torch.empty(1000, 4 * width))
            + macs(heads.mask_head, regions)
            + macs(heads.mask_predictor, regions)
        )
    known = closed_form([(y.shape[1], (y.shape[2], y.shape[3])) for y in maps], 80, width)
    # torchvision predicts a box and a mask of the background, too.
    assert counted == known.macs + 1000 * 4 * width * 4 + 100 * 28 * 28 * width
    params = sum(p.numel() for p in detector.parameters())
    params -= sum(p.numel() for p in features.parameters())
    norms = 2 * sum(y.shape[1] for y in maps) if norm else 0
    assert params == known.params + 4 * (4 * width + 1) + (width + 1) + norms


def test_the_detector_costs_what_was_published() -> None:
    """MambaOut-Tiny with Mask R-CNN: 262 G at 800 x 1280 (Yu & Wang, CVPR 2025, table 2)."""
    with torch.device("meta"):
        detector = mask_rcnn(build(reference("mambaout_tiny"), features_only=True), 80)
        backbone = macs(detector.backbone, torch.empty(1, 3, 800, 1280))
        levels = list(detector.backbone(torch.empty(1, 3, 800, 1280)).values())
        proposals = macs(detector.rpn.head, levels)
    regions = 14.31e9 + 53.01e9  # counted above
    whole = cost(reference("mambaout_tiny"), task="detection").macs
    assert backbone + proposals + regions == pytest.approx(whole, rel=2e-3)  # norms are not counted
    assert whole == pytest.approx(262e9, abs=1.2e9)


# ---- shapes


@pytest.mark.parametrize("num_stages", [2, 3, 4, 5])
def test_trains_and_finds_with_any_number_of_stages(num_stages: int) -> None:
    detector = small(num_stages)
    images = [torch.rand(3, 96, 128), torch.rand(3, 100, 70), torch.rand(3, 65, 96)]
    targets = [target(96, 128, (10, 20, 50, 60)), target(100, 70), target(65, 96, (0, 0, 96, 65))]
    losses = detector(images, targets)
    assert losses.keys() == {
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters())
    with torch.no_grad():
        detector.roi_heads.score_thresh = 0.0
        found = detector.eval()([torch.rand(3, 50, 80)])[0]
    assert found["masks"].shape[1:] == (1, 50, 80)
    assert 70 < found["boxes"][:, 2].max() < 80.01  # in the image's own pixels
    assert set(found["labels"].tolist()) <= {1, 2}


def test_regions_are_pooled_by_the_true_strides() -> None:
    """torchvision guesses the strides from the first batch; of an image of 65 x 96, wrongly."""
    detector = small()
    with torch.no_grad():
        detector([torch.rand(3, 65, 96)], [target(65, 96, (10, 10, 40, 40))])
    for pool in (detector.roi_heads.box_roi_pool, detector.roi_heads.mask_roi_pool):
        assert pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
        assert (pool.map_levels.k_min, pool.map_levels.k_max) == (2, 5)


def test_it_is_the_detector_that_model_cards_show() -> None:
    """The weights fit, and the same is found by either."""

    class Shown(nn.Module):
        out_channels = 256

        def __init__(self) -> None:
            super().__init__()
            ours = mask_rcnn(build(architecture(3), features_only=True), 2, norm=False).backbone
            self.body, self.fpn = ours.body, ours.fpn

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return self.fpn({str(i): y for i, y in enumerate(self.body(images))})

    maps = ["0", "1", "2"]
    shown = MaskRCNN(
        Shown(),
        num_classes=3,
        rpn_anchor_generator=AnchorGenerator(
            tuple((32 * 2**i,) for i in range(4)), ((0.5, 1.0, 2.0),) * 4
        ),
        box_roi_pool=MultiScaleRoIAlign(maps, output_size=7, sampling_ratio=2),
        mask_roi_pool=MultiScaleRoIAlign(maps, output_size=14, sampling_ratio=2),
        min_size=128,
        max_size=256,
        box_score_thresh=0.0,
        box_detections_per_img=5,
        rpn_post_nms_top_n_test=20,
    ).eval()
    ours = mask_rcnn(
        build(architecture(3), features_only=True), 2, shorter=128, longer=256, norm=False
    ).eval()
    ours.load_state_dict(shown.state_dict())
    ours.roi_heads.score_thresh, ours.roi_heads.detections_per_img = 0.0, 5
    ours.rpn._post_nms_top_n["testing"] = 20
    image = torch.rand(3, 128, 128)
    with torch.no_grad():
        (want,), (found,) = shown([image]), ours([image])
    assert found.keys() == want.keys()
    for key in want:
        torch.testing.assert_close(found[key], want[key])


def test_any_timm_model_with_a_pyramid_serves() -> None:
    features = timm.create_model("resnet18", features_only=True, out_indices=(1, 2, 3, 4))
    detector = mask_rcnn(features, 2, shorter=96, longer=160, width=16, rois_per_image=16)
    losses = detector([torch.rand(3, 96, 96)], [target(96, 96, (10, 10, 40, 40))])
    assert sum(losses.values()).isfinite()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (architecture(1), r"two or more stages; the strides of this one's maps are 4"),
        (reference("vim_tiny"), r"two or more stages; the strides of this one's maps are 16, 16"),
        (
            Architecture(architecture(2).stages, stem=Patch(kernel=3, step=3)),
            r"strides that are powers of two, these are 3, 6",
        ),
    ],
)
def test_networks_without_a_pyramid_are_refused(shape: Architecture, message: str) -> None:
    with torch.device("meta"):
        features = build(shape, features_only=True)
    with pytest.raises(ConfigError, match=message):
        mask_rcnn(features, 2)


# ---- what optimisers and autocast do to it


def test_a_scans_own_numbers_are_kept_from_decay() -> None:
    scan = Block(Gated(expansion=2), SSM(d_state=4, directions="h v"))
    detector = mask_rcnn(build(architecture(2, scan), features_only=True), 2, width=16)
    kept = detector.no_weight_decay()
    parameters = dict(detector.named_parameters())
    assert kept <= parameters.keys()
    assert {name for name in parameters if name.endswith("A_log")} <= kept
    assert len(kept) >= 2


def test_images_are_resized_where_they_are_scored_only() -> None:
    detector = small()
    image = torch.rand(3, 60, 80)
    resized, _ = detector.transform([image], [target(60, 80, (1, 1, 30, 30))])
    assert resized.image_sizes == [(60, 80)]
    resized, _ = detector.eval().transform([image])
    assert resized.image_sizes == [(96, 128)]


def test_boxes_keep_their_precision_under_autocast() -> None:
    """In bfloat16, anchors right of 256 would stand at even pixels only."""
    detector = small(2).eval()
    images = torch.rand(1, 3, 64, 1024)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        maps = detector.backbone(images)
        logits, offsets = detector.rpn.head(list(maps.values()))
        anchors = detector.rpn.anchor_generator(
            ImageList(images, [(64, 1024)]), list(maps.values())
        )
        _, boxes = detector.roi_heads.box_predictor(torch.rand(3, 64))
    for y in (*maps.values(), *logits, *offsets, boxes, anchors[0]):
        assert y.dtype == torch.float32
    exact = small(2).rpn.anchor_generator(ImageList(images, [(64, 1024)]), list(maps.values()))
    assert torch.equal(anchors[0], exact[0])
    assert len(anchors[0][:, 0].unique()) > 256
