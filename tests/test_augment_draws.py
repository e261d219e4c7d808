"""What is drawn for crops, policies, erasing and mixing, against timm's own draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm.data.auto_augment as timm_ops
import torch
from augment_helpers import GREY, P, same_distribution, seeded
from PIL import Image
from scipy.stats import chisquare
from timm.data.mixup import Mixup, cutmix_bbox_and_lam
from timm.data.random_erasing import RandomErasing
from timm.data.transforms import RandomResizedCropAndInterpolation

from hybridnas.config import Augmentation
from hybridnas.data import MEAN
from hybridnas.data.augment.crop import draw_boxes
from hybridnas.data.augment.mixing import draw_erased, draw_mixed
from hybridnas.data.augment.policy import make_policy
from hybridnas.data.augment.tones import Kind
from hybridnas.data.device_augment import DeviceAugment
from hybridnas.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(64, 64), (375, 500), (40, 130)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.35, 1.0)])
def test_crops_are_drawn_as_timm_draws_them(
    size: tuple[int, int], scale: tuple[float, float]
) -> None:
    number, ratio = 4000, (0.75, 4 / 3)
    generator = seeded()
    ours = (
        draw_boxes(torch.tensor([size]).expand(number, 2), scale, ratio, generator).double().numpy()
    )
    image = Image.new("RGB", size[::-1])
    draw: Any = RandomResizedCropAndInterpolation.get_params
    theirs = np.array([draw(image, scale, ratio) for _ in range(number)], dtype=np.float64)
    for column in range(4):  # top, left, height, width
        assert same_distribution(ours[:, column], theirs[:, column])
    assert same_distribution(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3])
    assert same_distribution(ours[:, 3] / ours[:, 2], theirs[:, 3] / theirs[:, 2])
    assert (ours[:, :2] + ours[:, 2:] <= size).all()
    assert (ours >= 0).all()


@pytest.mark.parametrize("size", [(10, 400), (400, 10), (300, 300)])
def test_a_crop_that_never_fits_is_timms_central_one(size: tuple[int, int]) -> None:
    scale = (1.0, 1.0) if size[0] != size[1] else (1.5, 1.6)
    found = draw_boxes(torch.tensor([size] * 3), scale, (0.75, 4 / 3), seeded())
    image = Image.new("RGB", size[::-1])
    wanted = RandomResizedCropAndInterpolation.get_params(image, scale, (0.75, 4 / 3))
    assert found.tolist() == [list(wanted)] * 3


def timm_draws(text: str, size: int, number: int) -> list[tuple[str, float]]:
    """Name and argument of each operation that timm carries out for so many pictures."""
    found: list[tuple[str, float]] = []
    read = (
        timm_ops.rand_augment_transform if text[:4] == "rand" else timm_ops.auto_augment_transform
    )
    policy = read(text, {"translate_const": int(size * 0.45), "img_mean": GREY})
    ops = policy.ops if text[:4] == "rand" else [op for layers in policy.policy for op in layers]
    for op in ops:
        name = op.name

        def note(image: Any, *args: float, _name: str = name, **_: Any) -> Any:
            found.append((_name, args[0] if args else 0.0))
            return image

        op.aug_fn = note
    image = Image.new("RGB", (size, size))
    for _ in range(number):
        policy(image)
    return found


def kind_and_argument(name: str, argument: float, size: int) -> tuple[int, float]:
    base = name.removesuffix("Increasing").removesuffix("Original").removesuffix("Rel")
    base = base.replace("GaussianBlurRand", "Blur").replace("GaussianBlur", "Blur")
    if base == "Desaturate":
        return Kind.COLOR, 1 - argument
    names = {kind.name.replace("_", ""): kind for kind in Kind}
    return names[base.upper()], argument * size if name.endswith("Rel") else argument


@pytest.mark.parametrize(
    "text",
    [
        "rand-m9-mstd0.5-inc1",
        "rand-m7-n3-mstd101",
        "rand-m15-p0.8-mmax20-inc1",
        "rand-m6-mstd1-tweights",
        "rand-m6-mstd1-t3a",
        "original-mstd0.5",
        "v0r",
    ],
)
def test_policies_are_drawn_as_timm_draws_them(text: str) -> None:
    size, number = 64, 3000
    generator = seeded()
    policy = make_policy(text, size, [g / 255 for g in GREY], CPU)
    drawn = policy.draw(number, generator).flatten(0, 1).double().numpy()
    ours = drawn[drawn[:, 0] != Kind.NONE]
    theirs = np.array(
        [kind_and_argument(name, arg, size) for name, arg in timm_draws(text, size, number)]
    )
    assert abs(len(ours) - len(theirs)) < 4 * (len(drawn) / 2) ** 0.5 + 1
    for kind in np.union1d(ours[:, 0], theirs[:, 0]):
        mine, wanted = ours[ours[:, 0] == kind, 1], theirs[theirs[:, 0] == kind, 1]
        spread = (len(mine) + len(wanted)) ** 0.5
        assert abs(len(mine) - len(wanted)) < 5 * spread, Kind(int(kind)).name
        if len(mine) > 20:
            # float32 and float64 of a constant argument must not count as different.
            assert same_distribution(mine.round(3), wanted.round(3)), Kind(int(kind)).name
    assert policy.fill.tolist() == list(GREY)
    assert abs((ours[:, 2] == 1).mean() - 0.5) < 0.06  # bilinear or bicubic


def test_a_weighted_choice_takes_no_operation_twice() -> None:
    drawn = make_policy("rand-m9-n3-p1-tweights", 64, MEAN, CPU).draw(2000, seeded())
    kinds = drawn[:, :, 0].sort(dim=1).values
    assert (kinds[:, 1:] != kinds[:, :-1]).all()


@pytest.mark.parametrize("text", ["augmix-m3", "rand-q7", "nothing"])
def test_unknown_policies_are_named(text: str) -> None:
    with pytest.raises(ConfigError, match=rf"no auto_augment '{text}' on the device .*'trivial'"):
        make_policy(text, 64, MEAN, CPU)


def test_erasing_is_drawn_as_timm_draws_it() -> None:
    number, size, prob = 3000, 40, 0.4
    generator = seeded()
    ours = draw_erased(number, prob, size, CPU, generator).numpy()
    white = torch.ones(number, 1, size, size)
    erased = RandomErasing(prob, mode="const", device="cpu")(white).eq(0)[:, 0]
    theirs = np.stack(
        [
            erased.any(2).float().argmax(1),  # the first row
            erased.any(1).float().argmax(1),
            erased.any(2).sum(1),
            erased.any(1).sum(1),
        ],
        axis=1,
    )
    some, others = ours[ours[:, 2] > 0], theirs[theirs[:, 2] > 0]
    assert abs(len(some) / number - prob) < 0.04
    for column in range(4):
        assert same_distribution(some[:, column], others[:, column])
    assert same_distribution(some[:, 2] * some[:, 3], others[:, 2] * others[:, 3])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 1.0), (0.2, 0.0), (0.0, 1.0), (0.0, 0.3)])
def test_mixing_is_drawn_as_timm_draws_it(mixup: float, cutmix: float) -> None:
    number, size = 3000, 64
    drawn = draw_mixed(number, mixup, cutmix, size, CPU, seeded()).numpy()
    cut = drawn[:, 0] > 0
    share = np.where(cut, 1 - drawn[:, 4] * drawn[:, 5] / size**2, drawn[:, 1])
    timms = Mixup(mixup, cutmix)
    theirs = []
    for _ in range(number):
        lam, use_cutmix = timms._params_per_batch()
        if use_cutmix:
            (yl, yh, xl, xh), lam = cutmix_bbox_and_lam((3, size, size), lam)
            theirs.append((1, lam, yl, xl, yh - yl, xh - xl))
        else:
            theirs.append((0, lam, 0, 0, 0, 0))
    wanted = np.array(theirs)
    assert abs(cut.mean() - wanted[:, 0].mean()) < 0.05
    for which in (0, 1):
        mine, other = share[cut == which], wanted[wanted[:, 0] == which]
        assert (len(mine) == 0) == (len(other) == 0)
        if len(mine):
            assert same_distribution(mine, other[:, 1])
    if cut.any():
        for column in range(2, 6):
            assert same_distribution(drawn[cut, column], wanted[wanted[:, 0] == 1, column])


def test_flips_interpolations_and_jitter_have_their_rates() -> None:
    augment = DeviceAugment(Augmentation(hflip=0.3, color_jitter=0.4), 32, CPU)
    plan = augment.draw(torch.full((50, 100, 2), 64), (64, 64), seeded())
    cubic, flip = plan.windows[..., 4], plan.windows[..., 5]
    assert abs(flip.mean() - 0.3) < 0.03
    assert abs(cubic.mean() - 0.5) < 0.03
    factors, orders = plan.jitter[..., :3].flatten(), plan.jitter[..., 3:].flatten(0, 1)
    assert same_distribution(factors, np.random.uniform(0.6, 1.4, 5000))
    counts = np.unique(orders.numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert chisquare(counts).pvalue > P
