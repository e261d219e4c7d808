"""Batches of images and masks on a device, against what a stream makes of single pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from augment_helpers import as_tensor, pictures, same_distribution, seeded
from mask_sets import shapes, task, write_set
from pair_helpers import SIZES, by_torchvision, levels, one_distorted, pairs, stored
from PIL import Image
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybridnas.data import masks, resident
from hybridnas.data.augment.distortion import distorted, draw_tones, hsv, rgb
from hybridnas.data.decoding import WholePair
from hybridnas.data.mask_transforms import training_pair
from hybridnas.data.pair_augment import PairAugment, PairPlan, stored_pair_side
from hybridnas.data.resident_training import ResidentBatches
from hybridnas.errors import DataError

pytest_plugins = ["resident_helpers"]

CPU = torch.device("cpu")
STEP = torch.zeros(1, dtype=torch.int64)


def by_pillow(monkeypatch: pytest.MonkeyPatch, image: Tensor, tones: list[float]) -> Tensor:
    add, early, late, saturation, turn, _ = tones
    coins = [add != 0, late != 1, *([early != 1] if late == 1 else [])]
    coins += [saturation != 1, turn != 0, *([True] if late != 1 else [])]
    values = [add] * (add != 0) + [early] * (early != 1) + [saturation] * (saturation != 1)
    values += [turn] * (turn != 0) + [late] * (late != 1)
    return one_distorted(monkeypatch, image, coins, values)


# ---- the same as one by one


@pytest.mark.parametrize("most", [0.75, 0.5, 1.1])
def test_crops_are_those_of_single_pairs(most: float) -> None:
    number, side = 64, 48
    given = pairs(number)
    sizes = torch.tensor([SIZES[i % len(SIZES)] for i in range(number)])
    augment = PairAugment(side, CPU, cat_max_ratio=most, distort=False)
    batch = stored(given)
    plan = augment.draw(sizes.unsqueeze(0), (batch.shape[2], batch.shape[3]), seeded(1))
    images, classes = augment.apply(batch, torch.zeros(number), plan)
    assert images.shape == (number, 3, side, side)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert classes.dtype == torch.uint8
    for i, found in enumerate(levels(images)):
        pixels, mask = by_torchvision(given[i], plan, i, side, most)
        assert torch.equal(classes[i], mask)
        difference = (found - pixels).abs()  # Torch rounds through fixed-point weights, twice
        assert difference.max() < 2.01
        assert difference.mean() < 0.1


def test_distortion_is_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    images = as_tensor(pictures(96, 20, 24))
    tones = draw_tones(len(images), CPU, seeded(2))
    found = distorted(images.float(), tones)
    for image, numbers, mine in zip(images, tones.tolist(), found, strict=True):
        wanted = by_pillow(monkeypatch, image, numbers)
        assert ((mine - wanted).abs() > 0).float().mean() < 1e-3  # a tie, in float32


def test_hue_and_saturation_are_rounded_as_pillow_does() -> None:
    every = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3), -1).reshape(1, -1, 3)
    random = np.random.default_rng(0).integers(0, 256, (1, 200_000, 3))
    for colours in (every.astype(np.uint8), random.astype(np.uint8)):
        tensor = torch.from_numpy(colours).permute(2, 0, 1).unsqueeze(0).float()
        there = Image.fromarray(colours).convert("HSV")
        assert np.array_equal(hsv(tensor)[0].permute(1, 2, 0).numpy(), np.asarray(there))
        back = Image.fromarray(colours, "HSV").convert("RGB")
        assert np.array_equal(rgb(tensor)[0].permute(1, 2, 0).numpy(), np.asarray(back))


def test_numbers_are_drawn_as_in_a_stream() -> None:
    """What crops of one pair hold: shares of padding and of each class, means of the colours."""
    number, side = 600, 32
    image, labels = shapes(np.random.default_rng(3), 40, 60)
    pair = (image, labels - np.uint8(1))
    batch = stored([pair]).expand(number, -1, -1, -1)
    augment = PairAugment(side, CPU)
    plan = augment.draw(torch.tensor([[[40, 60]] * number]), (40, 60), seeded(4))
    images, classes = augment.apply(batch, torch.zeros(number), plan)
    transform = training_pair(side)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        streamed = [transform(*pair) for _ in range(number)]
    theirs = torch.stack([pixels for pixels, _ in streamed]).float()
    their_classes = torch.stack([mask for _, mask in streamed])
    for one in (0, 1, 2, 255):
        mine, other = ((x == one).float().mean(dim=(1, 2)) for x in (classes, their_classes))
        assert same_distribution(mine, other.numpy())
    for mine, other in zip(
        levels(images).mean(dim=(2, 3)).T, theirs.mean(dim=(2, 3)).T, strict=True
    ):
        assert same_distribution(mine, other.numpy())
    left, others = ((x[:, 0, 0] == 255).float().mean() for x in (classes, their_classes))
    assert abs(left - others) < 0.1


def test_what_was_shrunk_when_stored_shows_the_same() -> None:
    """An image three times as long as wide, kept at half its length."""
    image, labels = shapes(np.random.default_rng(5), 40, 120)
    small = image.resize((12, 4)).resize((120, 40), Image.Resampling.BICUBIC)  # no noise
    pair = (small, labels - np.uint8(1))
    augment = PairAugment(24, CPU, distort=False)
    sizes = torch.tensor([[[40, 120]] * 50])
    found = []
    for side in (400, 60):
        batch = stored([pair], side).expand(50, -1, -1, -1)
        plan = augment.draw(sizes, (batch.shape[2], batch.shape[3]), seeded(6))
        assert plan.sizes[0, 0, 3] == min(side, 120)
        found.append(augment.apply(batch, torch.zeros(50), plan))
    (images, classes), (others, other_classes) = found
    assert (classes == other_classes).float().mean() > 0.97
    # A third of the crops enlarges; there it shows.
    assert (levels(images) - levels(others)).abs().mean() < 2
    assert stored_pair_side(24) == 96  # twice what the shorter axis is resized to at most


# ---- a split that stays in memory


def batches(root: Path, seed: int = 0) -> ResidentBatches[PairPlan]:
    split = masks.open_split(task(root, max_corrupt=0.2), "training")
    kept = resident.load_resident(split, WholePair(64), device=CPU, max_corrupt=0.2)
    assert kept is not None
    return ResidentBatches(kept, PairAugment(16, CPU), batch_size=4, seed=seed)


@pytest.mark.usefixtures("nothing_kept")
def test_an_epoch_is_the_same_wherever_it_begins(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", training=12)
    (root / "images" / "training" / "003.png").write_text("no picture")
    made = batches(root)
    assert list(made.unreadable) == [3]
    first, second = list(made), list(made)
    assert len(first) == 3
    assert not torch.equal(first[0][0], second[0][0])
    again = list(batches(root).epoch(2, 1))
    for (images, classes), (wanted, wanted_classes) in zip(again, second[1:], strict=True):
        assert torch.equal(images, wanted)
        assert torch.equal(classes, wanted_classes)
    assert not torch.equal(next(iter(batches(root, seed=1)))[0], first[0][0])
    assert made.sample(3)[0].shape == (3, 3, 16, 16)


@pytest.mark.usefixtures("nothing_kept")
def test_a_mask_that_does_not_fit_is_no_unreadable_picture(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", training=12)
    Image.new("L", (10, 10)).save(root / "annotations" / "training" / "003.png")
    with pytest.raises(DataError, match=r"003\.png has 10 x 10 pixels, but its image .* 48 x 32"):
        batches(root)


@pytest.mark.usefixtures("nothing_kept")
def test_another_file_is_another_split(tmp_path: Path) -> None:
    """Decoded files lie on disk: they must be known apart."""
    root = write_set(tmp_path / "set")
    before = masks.open_split(task(root), "training").fingerprint
    assert masks.open_split(task(root), "training").fingerprint == before
    assert masks.open_split(task(root), "validation").fingerprint != before
    labels = np.full((32, 48), 3, dtype=np.uint8)
    Image.fromarray(labels).save(root / "annotations" / "training" / "001.png")
    assert masks.open_split(task(root), "training").fingerprint != before


def test_applying_is_one_graph_for_the_compiler() -> None:
    """Nothing is read back, and no shape follows from values: a CUDA graph can hold it."""
    given = pairs(4)
    batch = stored(given)
    augment = PairAugment(16, CPU)
    plan = augment.draw(torch.tensor([SIZES]), (batch.shape[2], batch.shape[3]), seeded()).at(STEP)
    compiled = torch.compile(augment.apply, fullgraph=True, backend="eager")
    labels = torch.zeros(4)
    wanted = augment.apply(batch, labels, plan)
    for mine, theirs in zip(compiled(batch, labels, plan), wanted, strict=True):
        assert torch.equal(mine, theirs)


class _Elsewhere(TorchDispatchMode):
    """Operations that take or give a tensor that is not on a CUDA device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, Tensor)]
        if any(x.device.type != "cuda" for x in tensors):
            self.found.append(str(func))
        return result


def test_applying_leaves_the_host_out() -> None:
    """Nor is a number copied from it: a CUDA graph would know where it lay. Without a GPU."""
    cuda, batch = torch.device("cuda"), 4
    with FakeTensorMode():
        augment = PairAugment(16, cuda)
        sizes = ((3, batch, 4), (3, batch, 10, 2), (3, batch), (3, batch, 6))
        plan = PairPlan(*(torch.empty(size, device=cuda) for size in sizes))
        images = torch.empty((batch, 4, 30, 40), dtype=torch.uint8, device=cuda)
        step = torch.zeros(1, dtype=torch.int64, device=cuda)
        with _Elsewhere() as elsewhere:
            pixels, classes = augment.apply(images, images[:, 0, 0, 0].long(), plan.at(step))
    assert not elsewhere.found
    assert (pixels.device.type, classes.device.type) == ("cuda", "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_replays_what_a_cpu_does() -> None:
    cuda = torch.device("cuda")
    given = pairs(16)
    batch = stored(given)
    sizes = torch.tensor([SIZES * 4] * 3)
    plan = PairAugment(48, CPU).draw(sizes, (batch.shape[2], batch.shape[3]), seeded(8))
    moved = PairPlan(
        *(getattr(plan, name).to(cuda) for name in ("sizes", "corners", "flip", "tones"))
    )
    augment, images, labels = PairAugment(48, cuda), batch.to(cuda), torch.zeros(16, device=cuda)
    step = torch.zeros(1, dtype=torch.int64, device=cuda)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # warm-up, as capture asks for
        augment.apply(images, labels, moved.at(step))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found, classes = augment.apply(images, labels, moved.at(step))
        step.add_(1)
    for number in range(3):
        graph.replay()
        wanted, mask = PairAugment(48, CPU).apply(batch, torch.zeros(16), plan.at(STEP + number))
        assert torch.equal(classes.cpu(), mask)
        difference = (levels(found.cpu()) - levels(wanted)).abs()
        assert difference.mean() < 0.05
        assert (difference > 1.01).float().mean() < 0.01  # a level, turned or multiplied
