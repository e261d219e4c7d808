"""Each operation on a batch against Pillow on each picture, and crops against torchvision's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as torchvision_ops
from augment_helpers import GREY, as_tensor, by_pillow, pictures
from PIL import Image
from torch import Tensor
from torchvision.transforms import ColorJitter, InterpolationMode, TrivialAugmentWide
from torchvision.transforms.autoaugment import _apply_op

from hybridnas.data.augment.affine import BICUBIC, BILINEAR, NEAREST
from hybridnas.data.augment.crop import Windows, draw_boxes, resample, scale_boxes
from hybridnas.data.augment.layers import apply_layer, with_matrices
from hybridnas.data.augment.policy import Policy, _Level, _Operation, make_policy
from hybridnas.data.augment.tones import GEOMETRIC, Kind, jitter

CPU = torch.device("cpu")
H, W = 24, 28

# Arguments as timm draws them, with the ends of their ranges.
ARGUMENTS = {
    Kind.AUTOCONTRAST: (0.0,),
    Kind.EQUALIZE: (0.0,),
    Kind.INVERT: (0.0,),
    Kind.POSTERIZE: (0.0, 1.0, 3.0, 4.0, 7.0, 8.0),
    Kind.SOLARIZE: (0.0, 1.0, 100.0, 127.5, 255.0, 256.0),
    Kind.SOLARIZE_ADD: (0.0, 11.0, 99.0, 110.0),
    Kind.BRIGHTNESS: (0.1, 0.73, 1.0, 1.9),
    Kind.CONTRAST: (0.1, 0.73, 1.0, 1.9),
    Kind.COLOR: (0.0, 0.1, 0.73, 1.0, 1.9),
    Kind.SHARPNESS: (0.1, 0.73, 1.0, 1.9),
    Kind.SHEAR_X: (-0.3, 0.0, 0.17),
    Kind.SHEAR_Y: (-0.3, 0.0, 0.17),
    Kind.TRANSLATE_X: (-12.6, 3.0, 5.37),
    Kind.TRANSLATE_Y: (-10.8, 3.0, 5.37),
    Kind.ROTATE: (-30.0, 0.0, 11.3, 90.0, 135.0),
}


def layer(
    kinds: Sequence[int], arguments: Sequence[float], interpolation: int, size: tuple[int, int]
) -> Tensor:
    drawn = torch.tensor([kinds, arguments, [interpolation] * len(kinds)], dtype=torch.float32)
    return with_matrices(drawn.T.unsqueeze(1), *size)[:, 0]


def policy_of(*kinds: Kind, fill: tuple[int, ...] = GREY) -> Policy:
    choices = [[_Operation(_Level(kind), 1.0, 0.0)] for kind in kinds]
    return Policy(choices, CPU, num_layers=1, fill=fill)


def level_difference(found: Tensor, wanted: list[Image.Image]) -> Tensor:
    return (found - as_tensor(wanted)).abs()


@pytest.mark.parametrize("kind", [k for k in ARGUMENTS if k not in GEOMETRIC])
def test_tones_are_pillows_to_the_byte(kind: Kind) -> None:
    images = pictures(3 * len(ARGUMENTS[kind]), H, W)
    arguments = [argument for argument in ARGUMENTS[kind] for _ in range(3)]
    rows = layer([kind] * len(images), arguments, NEAREST, (H, W))
    found = apply_layer(as_tensor(images).float(), rows, policy_of(kind))
    wanted = [
        by_pillow(image, kind, a, NEAREST) for image, a in zip(images, arguments, strict=True)
    ]
    assert level_difference(found, wanted).max() == 0


@pytest.mark.parametrize("interpolation", [NEAREST, BILINEAR, BICUBIC])
@pytest.mark.parametrize("kind", sorted(GEOMETRIC))
def test_geometry_is_pillows_within_a_level(kind: Kind, interpolation: int) -> None:
    images = pictures(3 * len(ARGUMENTS[kind]), H, W)
    arguments = [argument for argument in ARGUMENTS[kind] for _ in range(3)]
    rows = layer([kind] * len(images), arguments, interpolation, (H, W))
    found = apply_layer(as_tensor(images).float(), rows, policy_of(kind))
    wanted = [
        by_pillow(image, kind, a, interpolation) for image, a in zip(images, arguments, strict=True)
    ]
    difference = level_difference(found, wanted)
    if interpolation == NEAREST or abs(arguments[-1]) >= 90:
        # A pixel that comes from the edge between two may take either; Pillow counts in 1/65536.
        assert (difference > 1).float().mean() < 0.02
    else:
        assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.02
    assert not torch.equal(found, as_tensor(images).float())


def test_blur_is_pillows_within_a_level() -> None:
    radii = [0.0, 0.13, 0.57, 1.1, 1.7, 1.93]
    images = pictures(len(radii), H, W)
    rows = layer([Kind.BLUR] * len(radii), radii, NEAREST, (H, W))
    found = apply_layer(as_tensor(images).float(), rows, policy_of(Kind.BLUR))
    wanted = [by_pillow(i, Kind.BLUR, r, NEAREST) for i, r in zip(images, radii, strict=True)]
    difference = level_difference(found, wanted)
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 3e-3
    assert torch.equal(found[0], as_tensor(images)[0].float())


def test_each_image_of_a_batch_has_its_own_operation() -> None:
    kinds = list(Kind)
    images = pictures(len(kinds), H, H)
    arguments = [ARGUMENTS.get(kind, (1.0,))[-1] for kind in kinds]
    found = apply_layer(
        as_tensor(images).float(), layer(kinds, arguments, BICUBIC, (H, H)), policy_of(*kinds)
    )
    wanted = [by_pillow(i, k, a, BICUBIC) for i, k, a in zip(images, kinds, arguments, strict=True)]
    exact = [kind not in GEOMETRIC and kind != Kind.BLUR for kind in kinds]
    difference = level_difference(found, wanted)
    assert difference[exact].max() == 0
    assert difference.mean() < 0.5


def test_flat_and_empty_histograms_are_left_alone() -> None:
    flat = [Image.new("RGB", (W, H), colour) for colour in ((0, 0, 0), (255, 255, 255), (9, 8, 7))]
    tiny = pictures(3, 4, 5)  # fewer than 256 pixels: equalizing has a step of 0
    for images in (flat, tiny):
        for kind in (Kind.EQUALIZE, Kind.AUTOCONTRAST):
            rows = layer([kind] * 3, [0.0] * 3, NEAREST, (H, W))
            found = apply_layer(as_tensor(images).float(), rows, policy_of(kind))
            assert level_difference(found, [by_pillow(i, kind, 0, 0) for i in images]).max() == 0


def test_trivial_augment_is_torchvisions() -> None:
    policy = make_policy("trivial", H, (0.5,) * 3, CPU)
    names = {
        Kind.SHEAR_X: "ShearX", Kind.SHEAR_Y: "ShearY", Kind.TRANSLATE_X: "TranslateX",
        Kind.TRANSLATE_Y: "TranslateY", Kind.ROTATE: "Rotate", Kind.BRIGHTNESS: "Brightness",
        Kind.COLOR: "Color", Kind.CONTRAST: "Contrast", Kind.SHARPNESS: "Sharpness",
        Kind.POSTERIZE: "Posterize", Kind.SOLARIZE: "Solarize",
    }  # fmt: skip
    space = TrivialAugmentWide()._augmentation_space(31)
    drawn = policy.draw(8000, torch.Generator().manual_seed(0))[:, 0]
    assert len(drawn[:, 0].unique()) == len(space)  # NONE is torchvision's Identity
    assert set(drawn[:, 2].tolist()) == {float(NEAREST)}
    for kind, name in names.items():
        found = drawn[drawn[:, 0] == kind, 1].unique()
        magnitudes, signed = space[name]
        wanted = magnitudes.float()
        if name in ("TranslateX", "TranslateY"):
            wanted = (wanted + 1e-4).trunc()  # torchvision's 16 is 15.999998, of which it makes 15
        if signed:
            wanted = torch.cat([wanted, -wanted])
        if kind in (Kind.BRIGHTNESS, Kind.COLOR, Kind.CONTRAST, Kind.SHARPNESS):
            wanted = 1 + wanted
        wanted = (wanted + 0.0).unique()
        torch.testing.assert_close(found + 0.0, wanted, rtol=0, atol=2e-5 * float(wanted.max()))
    [image] = pictures(1, H, H)
    for kind, magnitude in ((Kind.SHEAR_X, 0.33), (Kind.SHEAR_Y, 0.33), (Kind.ROTATE, 112.5)):
        black = policy_of(kind, fill=(0, 0, 0))
        one = as_tensor([image]).float()
        both = [
            apply_layer(one, layer([kind], [sign * magnitude], NEAREST, (H, H)), black)
            for sign in (1, -1)
        ]
        pil = _apply_op(image, names[kind], magnitude, InterpolationMode.NEAREST, None)
        # Which sign is which does not matter: each is drawn as often.
        share = min((found != as_tensor([pil])).float().mean() for found in both)
        assert share < 0.01


def test_colour_jitter_is_torchvisions() -> None:
    images = pictures(12, H, W)
    random = np.random.default_rng(1)
    factors = random.uniform(0.6, 1.4, (12, 3)).astype(np.float32)
    orders = np.array([random.permutation(3) for _ in images])
    found = jitter(
        as_tensor(images).float(), torch.from_numpy(factors), torch.from_numpy(orders).float()
    )
    adjust = (
        torchvision_ops.adjust_brightness,
        torchvision_ops.adjust_contrast,
        torchvision_ops.adjust_saturation,
    )
    wanted = []
    for image, row, order in zip(images, factors, orders, strict=True):
        for place in order:
            image = adjust[place](image, float(row[place]))
        wanted.append(image)
    assert level_difference(found, wanted).max() == 0
    assert ColorJitter(0.4, 0.4, 0.4).hue is None  # three enhancements and no fourth


@pytest.mark.parametrize("cubic", [False, True])
@pytest.mark.parametrize(("height", "width", "size"), [(24, 28, 17), (150, 90, 32), (20, 23, 48)])
def test_crops_are_pillows_within_a_level(height: int, width: int, size: int, cubic: bool) -> None:
    images = pictures(12, height, width)
    sizes = torch.tensor([[height, width]] * 12)
    boxes = draw_boxes(sizes, (0.08, 1), (0.75, 4 / 3), torch.Generator().manual_seed(0))
    flip = torch.arange(12) % 2 == 0
    top, left, box_height, box_width = boxes.unbind(1)
    windows = Windows(top, left, box_height, box_width, torch.full((12,), cubic), flip)
    found = resample(as_tensor(images), windows, size)
    mode = InterpolationMode.BICUBIC if cubic else InterpolationMode.BILINEAR
    wanted = []
    for image, box, flipped in zip(images, boxes.int().tolist(), flip.tolist(), strict=True):
        crop = torchvision_ops.resized_crop(image, *box, [size, size], mode)
        wanted.append(torchvision_ops.hflip(crop) if flipped else crop)
    difference = level_difference(found, wanted)
    rows_first = boxes[:, 3] >= boxes[:, 2]  # so does Pillow 13 then; earlier ones always do
    assert rows_first.sum() >= 3
    assert difference[rows_first].max() <= 1
    assert (difference[rows_first] > 0).float().mean() < 0.03
    assert difference.mean() < 0.2


def test_a_window_of_the_whole_picture_gives_it_back() -> None:
    pixels = as_tensor(pictures(4, 32, 32))
    none = torch.zeros(4)
    whole = Windows(none, none, none + 32, none + 32, torch.arange(4) > 1, torch.zeros(4) > 0)
    assert torch.equal(resample(pixels, whole, 32), pixels.float())
    assert torch.equal(
        resample(pixels, whole._replace(flip=torch.ones(4) > 0), 32), pixels.flip(3).float()
    )


def test_boxes_scale_with_what_was_shrunk() -> None:
    boxes = torch.tensor([[100.0, 200.0, 300.0, 400.0], [1.0, 2.0, 3.0, 4.0]])
    sizes = torch.tensor([[400, 800], [40, 50]])
    found = scale_boxes(boxes, sizes, (200, 160))
    assert found.tolist() == [[50.0, 40.0, 150.0, 80.0], [1.0, 2.0, 3.0, 4.0]]
