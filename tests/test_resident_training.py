"""Training batches of a split in memory: which images, in which order, and how they are changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from resident_helpers import CPU, load
from torch import Tensor

from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.data import MEAN, STD, DeviceAugment, ImageLoader, ResidentImages
from hybridnas.data.augment.plan import Plan
from hybridnas.data.batches import DeviceBatches
from hybridnas.data.decoded_cache import cache_folder
from hybridnas.data.images import open_splits
from hybridnas.data.resident_training import ResidentBatches
from hybridnas.tasks.classification import classification_loaders
from hybridnas.tasks.resident_data import resident_scoring, resident_training

pytest_plugins = ["resident_helpers"]
pytestmark = pytest.mark.usefixtures("nothing_kept")

ALL = Augmentation(
    scale=(0.3, 1), auto_augment="rand-m9-mstd0.5-inc1", reprob=0.5, mixup=0.8, cutmix=1.0
)
WHOLE = Augmentation(scale=(1, 1), ratio=(1, 1), hflip=0)


@pytest.fixture
def coloured(two_classes: Path) -> Path:
    """The same pictures, each of one level of red: 0, 20, ..., 180."""
    for place, file in enumerate(sorted((two_classes / "train").glob("*/*.png"))):
        with Image.open(file) as image:
            size = image.size
        Image.new("RGB", size, (20 * place, 0, 0)).save(file)
    return two_classes


def batches(
    images: ResidentImages, augmentation: Augmentation = WHOLE, batch_size: int = 3, seed: int = 0
) -> ResidentBatches[Plan]:
    augment = DeviceAugment(augmentation, 24, CPU, num_classes=2)
    return ResidentBatches(images, augment, batch_size=batch_size, seed=seed)


def one_pass(
    found: ResidentBatches[Plan], epoch: int, first: int = 0
) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(epoch)  # the noise of what is erased
    return list(found.epoch(epoch, first))


def same(one: list[tuple[Tensor, Tensor]], other: list[tuple[Tensor, Tensor]]) -> bool:
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for x, y in pairs for a, b in zip(x, y, strict=True))


def colours(found: list[tuple[Tensor, Tensor]]) -> list[tuple[int, int]]:
    """The level of red of each image, which is of one colour, and its label."""
    return [
        (round((float(image[0].mean()) * STD[0] + MEAN[0]) * 255), int(label))
        for images, labels in found
        for image, label in zip(images, labels, strict=True)
    ]


def test_an_epoch_takes_each_image_once_in_full_batches(coloured: Path) -> None:
    found = batches(load(coloured))
    assert isinstance(found, DeviceBatches)
    assert (len(found), found.batch_size, found.placement) == (3, 3, "device")
    epochs = [one_pass(found, epoch) for epoch in (1, 2)]
    for epoch in epochs:
        assert all(images.shape == (3, 3, 24, 24) for images, _ in epoch)
        assert len(set(colours(epoch))) == 9
    assert colours(epochs[0]) != colours(epochs[1])


def test_labels_stay_with_their_images(coloured: Path) -> None:
    found = colours(one_pass(batches(load(coloured), batch_size=2), 1))
    assert sorted(found) == [(20 * place, place // 5) for place in range(10)]


def test_an_epoch_follows_from_seed_and_number(two_classes: Path) -> None:
    images = load(two_classes)
    found = batches(images, ALL)
    first, second = one_pass(found, 1), one_pass(found, 2)
    assert not same(first, second)
    assert same(one_pass(batches(images, ALL), 2), second)
    assert same(one_pass(found, 1), first)
    assert not same(one_pass(batches(images, ALL, seed=1), 1), first)


def test_an_epoch_is_begun_at_any_batch(two_classes: Path) -> None:
    images = load(two_classes)
    plain = ALL.model_copy(update={"reprob": 0.0})  # noise is drawn batch by batch
    whole = one_pass(batches(images, plain), 2)
    assert same(one_pass(batches(images, plain), 2, 1), whole[1:])


def test_looking_ahead_changes_no_batch(two_classes: Path) -> None:
    images = load(two_classes)
    whole = one_pass(batches(images, ALL), 2)
    found = batches(images, ALL)
    one_pass(found, 1)
    found.look_ahead(2)
    assert same(one_pass(found, 2), whole)
    found.look_ahead(3)
    assert same(one_pass(found, 2), whole)


def test_iterating_goes_on_with_the_next_epoch(two_classes: Path) -> None:
    images = load(two_classes)
    found = batches(images)
    assert same(list(found), one_pass(batches(images), 1))
    assert same(list(found), one_pass(batches(images), 2))


def test_stand_ins_take_the_place_of_the_unreadable(coloured: Path) -> None:
    (coloured / "train" / "cat" / "1.png").write_text("a text")
    found = batches(load(coloured, allowed=0.2), batch_size=10)
    want = [(20 * place, place // 5) for place in (0, 2, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert sorted(colours(one_pass(found, 1))) == want
    assert list(found.unreadable) == [1]


def test_a_sample_begins_no_epoch_and_draws_from_nobody(two_classes: Path) -> None:
    images = load(two_classes)
    found = batches(images, ALL)
    state = torch.get_rng_state()
    x, y = found.sample(4)
    assert (x.shape, y.shape) == ((4, 3, 24, 24), (4, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert same([found.sample(4)], [(x, y)])
    found.begin(1)
    found.fetch()
    first = found.make()
    found.sample(4)
    found.fetch()
    second = found.make()
    torch.manual_seed(1)
    fresh = batches(images, ALL.model_copy(update={"reprob": 0.0}))
    assert len(list(fresh.epoch(1))) == 3
    assert not torch.equal(first[0], second[0])


# ---- of a protocol


def protocol(
    two_classes: Path, augmentation: Augmentation = WHOLE, batch_size: int = 5
) -> Protocol:
    return Protocol(
        task=Task(data=str(two_classes), val="train"),
        recipe=Recipe(batch_size=batch_size, augmentation=augmentation, crop_pct=0.9),
        fidelity=Fidelity(epochs=1, resolution=20),
    )


def test_what_is_scored_is_what_a_stream_gives(two_classes: Path) -> None:
    told = protocol(two_classes)
    train, val = open_splits(told.task)
    kept = resident_scoring(val, told, "bicubic", CPU)
    stream = classification_loaders(told, CPU, 0)
    assert kept is not None
    assert same(list(kept), list(stream.val))
    assert list(cache_folder().glob("*/pixels.npy"))
    found = resident_training(train, told, 5, CPU)
    assert found is not None
    assert (len(found), found.batch_size) == (len(stream.train), stream.train.batch_size)


def test_what_only_a_stream_can_do_streams(two_classes: Path) -> None:
    told = protocol(two_classes, Augmentation(auto_augment="augmix-m3"))
    train, _ = open_splits(told.task)
    assert resident_training(train, told, 5, CPU) is None


def test_the_cpu_streams(two_classes: Path) -> None:
    found = classification_loaders(protocol(two_classes), CPU, 0)
    assert isinstance(found.train, ImageLoader)
    assert found.train.placement == "stream"


def test_the_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYBRIDNAS_CACHE", "~/mine")
    assert cache_folder() == Path.home() / "mine"
    monkeypatch.delenv("HYBRIDNAS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{os.sep}somewhere")
    assert cache_folder() == Path(os.sep, "somewhere", "hybridnas")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "hybridnas"
