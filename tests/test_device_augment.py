"""Whole batches against timm and Pillow, and what a captured step asks for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as torchvision_ops
from augment_helpers import as_tensor, by_pillow, pictures, same_distribution, seeded
from PIL import Image
from timm.data.mixup import mixup_target
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import InterpolationMode

from hybridnas.config import Augmentation
from hybridnas.data import MEAN, STD
from hybridnas.data.augment.mixing import mix, one_hot
from hybridnas.data.device_augment import DeviceAugment

CPU = torch.device("cpu")
ALL = Augmentation(
    scale=(0.08, 1.0),
    auto_augment="rand-m9-mstd0.5-inc1",
    reprob=0.25,
    mixup=0.8,
    cutmix=1.0,
)
NOTHING = Augmentation(scale=(1, 1), ratio=(1, 1), hflip=0)


# ---- pixels


def by_timm(image: Image.Image, window: list[float], layers: list[list[float]], size: int) -> Any:
    """What timm makes of a picture by the numbers of a plan, in levels."""
    *box, cubic, flip = window
    mode = InterpolationMode.BICUBIC if cubic else InterpolationMode.BILINEAR
    image = torchvision_ops.resized_crop(image, *map(int, box), [size, size], mode)
    if flip:
        image = torchvision_ops.hflip(image)
    for kind, argument, interpolation, *_ in layers:
        image = by_pillow(image, int(kind), argument, int(interpolation))
    return image


def test_a_batch_is_what_timm_and_pillow_make_of_each_picture() -> None:
    number, size = 96, 32
    images = pictures(number, 40, 52)
    recipe = Augmentation(scale=(0.3, 1), auto_augment="rand-m9-n2-mstd0.5-inc1-p0.7")
    augment = DeviceAugment(recipe, size, CPU)
    plan = augment.draw(torch.tensor([[[40, 52]] * number]), (40, 52), seeded(3))
    labels = torch.arange(number)
    found, targets = augment.apply(as_tensor(images), labels, plan)
    assert targets is labels
    assert found.is_contiguous(memory_format=torch.channels_last)
    levels = found * 255 * torch.tensor(STD).view(3, 1, 1) + 255 * torch.tensor(MEAN).view(3, 1, 1)
    wanted = as_tensor(
        [
            by_timm(image, window, layers, size)
            for image, window, layers in zip(
                images, plan.windows[0].tolist(), plan.layers[0].tolist(), strict=True
            )
        ]
    )
    difference = (levels - wanted).abs()
    # Levels that differ by one after a crop can be spread by equalizing or cut by a threshold.
    assert difference.mean() < 0.2
    assert (difference > 1.5).float().mean() < 0.01


def test_without_augmentation_images_are_only_normalised() -> None:
    pixels = as_tensor(pictures(4, 32, 32))
    augment = DeviceAugment(NOTHING, 32, CPU)
    found, _ = augment.apply(
        pixels, torch.arange(4), augment.draw(torch.full((1, 4, 2), 32), (32, 32))
    )
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    torch.testing.assert_close(found, (pixels / 255 - mean) / std, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
def test_erasing_fills_its_box_and_nothing_else(mode: Any) -> None:
    number = 64
    recipe = NOTHING.model_copy(update={"reprob": 1.0})
    augment = DeviceAugment(recipe, 32, CPU, erase_mode=mode)
    pixels = torch.full((number, 3, 32, 32), 255, dtype=torch.uint8)
    plan = augment.draw(torch.full((1, number, 2), 32), (32, 32), seeded())
    found, _ = augment.apply(pixels, torch.arange(number), plan, seeded())
    white = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    noise = []
    for image, (top, left, h, w) in zip(found, plan.erased[0].int().tolist(), strict=True):
        inside = image[:, top : top + h, left : left + w]
        assert h * w > 0
        outside = image.clone()
        outside[:, top : top + h, left : left + w] = white.view(3, 1, 1)
        assert (outside - white.view(3, 1, 1)).abs().max() < 1e-5
        if mode == "rand":
            assert (inside == inside[:, :1, :1]).all()
            noise.append(inside[:, 0, 0])
        else:
            noise.append(inside.flatten())
    values = torch.cat(noise)
    if mode == "const":
        assert (values == 0).all()
    else:
        assert same_distribution(values[:5000], np.random.standard_normal(5000))


@pytest.mark.parametrize("cut", [0.0, 1.0])
def test_mixing_is_timms(cut: float) -> None:
    images, labels = torch.randn(6, 3, 20, 24), torch.tensor([0, 1, 2, 3, 4, 0])
    drawn = torch.tensor([[cut, 0.3, 2.0, 5.0, 7.0, 11.0]])
    found, targets = mix(images, one_hot(labels, 5, 0.1), drawn)
    if cut:
        wanted, lam = images.clone(), 1 - 7 * 11 / 480
        wanted[:, :, 2:9, 5:16] = images.flip(0)[:, :, 2:9, 5:16]
    else:
        wanted, lam = images * 0.3 + images.flip(0) * 0.7, 0.3
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(targets, mixup_target(labels, 5, lam, 0.1))


# ---- what a captured step asks for


def batch(device: str = "cpu", number: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    images = torch.randint(0, 256, (number, 3, 40, 40), dtype=torch.uint8, device=device)
    sizes = torch.full((3, number, 2), 40, dtype=torch.int32, device=device)
    return images, sizes, torch.arange(number, device=device) % 5


POLICIES = ["rand-m9-mstd0.5-inc1", "rand-m9-tweights", "trivial", "original", "3a", None]


@pytest.mark.parametrize("policy", POLICIES)
def test_nothing_is_read_back_from_the_device(policy: str | None) -> None:
    """A fake CUDA device has no values: whatever asks for one, or for a shape by one, raises."""
    with FakeTensorMode():
        cuda = torch.device("cuda")
        recipe = ALL.model_copy(update={"auto_augment": policy, "color_jitter": 0.4})
        augment = DeviceAugment(recipe, 32, cuda, num_classes=5)
        images, sizes, labels = batch("cuda")
        plan = augment.draw(sizes, (40, 40)).at(torch.zeros(1, dtype=torch.int64, device=cuda))
        found, targets = augment.apply(images, labels, plan)
        assert (found.shape, targets.shape) == ((8, 3, 32, 32), (8, 5))
        assert found.device.type == targets.device.type == "cuda"
        assert found.is_contiguous(memory_format=torch.channels_last)


class _Record(TorchDispatchMode):
    """Notes every operation with the shapes of what it gives."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[str, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls.append((str(func), out.shape if isinstance(out, Tensor) else None))
        return out


@pytest.mark.parametrize("policy", POLICIES)
def test_every_step_is_the_same_sequence_of_operations(policy: str | None) -> None:
    augment = DeviceAugment(ALL.model_copy(update={"auto_augment": policy}), 32, CPU, num_classes=5)
    recorded = []
    for seed in range(4):
        generator = seeded(seed)
        images, sizes, labels = batch()
        with _Record() as record:
            plan = augment.draw(sizes, (40, 40), generator).at(torch.tensor([seed % 3]))
            augment.apply(images, labels, plan, generator)
        recorded.append(record.calls)
    assert all(calls == recorded[0] for calls in recorded)
    asks = {
        "aten._local_scalar_dense.default",
        "aten.nonzero.default",
        "aten.masked_select.default",
    }
    assert not asks & {name for name, _ in recorded[0]}


def test_a_batch_depends_on_its_generator_only() -> None:
    augment = DeviceAugment(ALL, 32, CPU, num_classes=5)
    images, sizes, labels = batch()

    def run(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        plan = augment.draw(sizes, (40, 40), generator).at(torch.tensor([1]))
        return augment.apply(images, labels, plan, generator)[0]

    torch.manual_seed(5)
    first, after = run(0), torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)  # global random numbers are not touched
    assert torch.equal(run(0), first)
    assert not torch.equal(run(1), first)


def test_autocast_does_not_reach_pixels() -> None:
    augment = DeviceAugment(Augmentation(scale=(0.3, 1)), 32, CPU)
    images, sizes, labels = batch()
    plan = augment.draw(sizes, (40, 40), seeded()).at(torch.tensor([0]))
    wanted = augment.apply(images, labels, plan)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(augment.apply(images, labels, plan)[0], wanted)


def test_apply_is_one_graph_for_the_compiler() -> None:
    augment = DeviceAugment(ALL, 32, CPU, num_classes=5, erase_mode="const")
    images, sizes, labels = batch()
    plan = augment.draw(sizes, (40, 40), seeded()).at(torch.tensor([0]))
    compiled = torch.compile(augment.apply, fullgraph=True, backend="eager")
    for found, wanted in zip(
        compiled(images, labels, plan), augment.apply(images, labels, plan), strict=True
    ):
        assert torch.equal(found, wanted)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("policy", POLICIES)
def test_a_cuda_graph_replays_what_eager_does(policy: str | None) -> None:
    cuda = torch.device("cuda")
    recipe = ALL.model_copy(update={"auto_augment": policy, "color_jitter": 0.4})
    augment = DeviceAugment(recipe, 32, cuda, num_classes=5, erase_mode="const")
    images, sizes, labels = batch("cuda")
    plan = augment.draw(sizes, (40, 40))
    step = torch.zeros(1, dtype=torch.int64, device=cuda)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm-up, as capture asks for
        augment.apply(images, labels, plan.at(step))
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            drawn = augment.draw(sizes, (40, 40))
            found, targets = augment.apply(images, labels, plan.at(step))
            step.add_(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    windows = []
    for number in range(3):
        graph.replay()
        wanted = augment.apply(images, labels, plan.at(torch.tensor([number], device=cuda)))
        torch.testing.assert_close(found, wanted[0])
        torch.testing.assert_close(targets, wanted[1])
        windows.append(drawn.windows.clone())
    assert not torch.equal(windows[0], windows[1])  # each replay draws anew
