"""Splits, digests and batches, from digits and from small folders written here."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.data import (
    class_names,
    data_digest,
    open_split,
    open_splits,
)
from hybridnas.data.batches import Batches
from hybridnas.errors import DataError
from hybridnas.tasks import TASKS, Loaders
from hybridnas.tasks.classification import validation_loader

CPU = torch.device("cpu")
PACK = Path(__file__).resolve().parents[2] / "shared" / "data" / "cls_tin20_64.tar.gz"
# Python 3.12 and later warn of any fork of a process with threads, and torch has some.
forks = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


def write_images(folder: Path, number: int, seed: int = 0, size: int = 16) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for i in range(number):
        pixels = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes: 5 + 7 images in train, 3 + 4 in val."""
    root = tmp_path / "pets"
    for place, number in {"train/cat": 5, "train/dog": 7, "val/cat": 3, "val/dog": 4}.items():
        write_images(root / place, number, seed=number)
    return root


def loaders(
    task: Task, recipe: Recipe | None = None, *, seed: int = 0, workers: int = 0
) -> Loaders:
    recipe, fidelity = recipe or Recipe(batch_size=4), Fidelity(epochs=1, resolution=16)
    protocol = Protocol(task=task, recipe=recipe, fidelity=fidelity, seed=seed)
    return TASKS["classification"].loaders(protocol, CPU, workers)


def seen(loader: Batches) -> tuple[torch.Tensor, torch.Tensor]:
    """All images and all targets of one pass."""
    images, targets = zip(*loader, strict=True)
    return torch.cat(images), torch.cat(targets)


# ---- splits


def test_digits_are_divided_once_and_for_all() -> None:
    splits = [open_split(Task(), name) for name in ("train", "val", "test")]
    assert [len(split) for split in splits] == [1000, 497, 300]
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    counts = np.sum([list(split.counts().values()) for split in splits], axis=0)
    assert counts.tolist() == np.bincount(bunch.target).tolist()
    share = np.array(list(splits[1].counts().values())) / counts
    assert (abs(share - 497 / 1797) < 0.01).all()
    again = open_split(Task(), "val")
    assert np.array_equal(again.labels, splits[1].labels)
    image = splits[0].read(0)
    assert (image.mode, image.size) == ("RGB", (32, 32))


def test_digits_know_their_splits() -> None:
    with pytest.raises(DataError, match=r"no split 'valid'; allowed: train, val, test"):
        open_split(Task(), "valid")


def test_folder_gives_classes_in_order_of_names(folder: Path) -> None:
    task = Task(data=str(folder))
    assert class_names(task) == ("cat", "dog")
    train, val = open_splits(task)
    assert train.counts() == {"cat": 5, "dog": 7}
    assert val.counts() == {"cat": 3, "dog": 4}
    first = folder / "train" / "cat" / "000.png"
    assert train.name(0) == str(first)
    assert np.array_equal(np.asarray(train.read(0)), np.asarray(Image.open(first)))


def test_hidden_files_and_folders_are_no_images(folder: Path) -> None:
    (folder / "train" / ".ipynb_checkpoints").mkdir()
    shutil.copy(folder / "train" / "cat" / "000.png", folder / "train" / "cat" / "._000.png")
    assert open_split(Task(data=str(folder)), "train").counts() == {"cat": 5, "dog": 7}


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "I;16", "LA"])
def test_every_mode_is_read_as_rgb(folder: Path, mode: str) -> None:
    grey = np.tile(np.arange(0, 256, 16, dtype=np.uint8), (16, 1))
    path = folder / "train" / "cat" / ("000.tif" if mode in ("CMYK", "I;16") else "000.png")
    (folder / "train" / "cat" / "000.png").unlink()
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 256).save(path)
    elif mode == "P":
        Image.fromarray(grey).convert("P").save(path, transparency=bytes(range(256)))
    else:
        Image.fromarray(grey).convert("RGB" if mode == "CMYK" else "L").convert(mode).save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    image = open_split(Task(data=str(folder)), "train").read(0)
    assert image.mode == "RGB"
    if mode != "1":
        assert abs(np.asarray(image)[..., 0].astype(int) - grey).max() <= 1


def _put_a_file_there(root: Path) -> None:
    shutil.rmtree(root)
    root.touch()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root), r"pets does not exist; allowed is 'digits' or a folder"),
        (_put_a_file_there, r"pets is a file; allowed"),
        (lambda root: shutil.rmtree(root / "val"), r"pets has no folder val; .* holds train$"),
        (
            lambda root: (root / "val" / "dog").rename(root / "val" / "hound"),
            r"dog only in the first, hound only in the second",
        ),
        (
            lambda root: [path.unlink() for path in (root / "val" / "dog").iterdir()],
            r"val: no images in dog; an image's name ends in one of \.jpg",
        ),
        (lambda root: shutil.rmtree(root / "train" / "dog"), r"got 1 class folders \(cat\)"),
    ],
)
def test_broken_folders_are_named(
    folder: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(folder)
    with pytest.raises(DataError, match=message):
        open_splits(Task(data=str(folder)))


# ---- digest


def test_digest_follows_the_content_not_the_place(folder: Path) -> None:
    before = data_digest(*open_splits(Task(data=str(folder))))
    assert len(before) == 12
    assert int(before, 16) >= 0
    moved = folder.rename(folder.with_name("animals"))
    assert data_digest(*open_splits(Task(data=str(moved)))) == before
    renamed = (moved / "val").rename(moved / "valid")
    assert data_digest(*open_splits(Task(data=str(moved), val="valid"))) == before
    (renamed / "dog" / "000.png").rename(renamed / "cat" / "new.png")
    assert data_digest(*open_splits(Task(data=str(moved), val="valid"))) != before
    write_images(renamed / "dog", 4)
    assert data_digest(*open_splits(Task(data=str(moved), val="valid"))) != before


def test_digest_of_digits_is_constant() -> None:
    assert data_digest(*open_splits(Task())) == data_digest(*open_splits(Task()))
    assert data_digest(*open_splits(Task(val="test"))) != data_digest(*open_splits(Task()))


# ---- batches


def test_validation_batches_are_the_normalised_images(folder: Path) -> None:
    task = Task(data=str(folder))
    images, labels = seen(loaders(task).val)
    val = open_split(task, "val")
    pixels = np.stack([np.asarray(val.read(i)) for i in range(len(val))])  # already 16 x 16
    want = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    torch.testing.assert_close(images, torch.from_numpy(want).permute(0, 3, 1, 2).float())
    assert labels.tolist() == val.labels.tolist()


def test_training_takes_each_image_at_most_once_in_full_batches(folder: Path) -> None:
    whole = Augmentation(scale=(1, 1), ratio=(1, 1), hflip=0)
    train = loaders(Task(data=str(folder)), Recipe(batch_size=5, augmentation=whole)).train
    assert len(train) == 2
    first, second = [seen(train)[0] for _ in range(2)]
    assert len(first) == 10
    assert len(first.flatten(1).unique(dim=0)) == 10
    assert not torch.equal(first, second)


def test_a_batch_larger_than_the_set_is_the_set(folder: Path) -> None:
    found = loaders(Task(data=str(folder)), Recipe(batch_size=128))
    assert (len(found.train), len(found.val)) == (1, 1)
    assert len(seen(found.train)[0]) == 12


@forks
def test_batches_depend_on_the_seed_only(folder: Path) -> None:
    recipe = Recipe(
        batch_size=4, augmentation=Augmentation(color_jitter=0.4, auto_augment="augmix-m3")
    )
    task = Task(data=str(folder))

    def two_epochs(seed: int, workers: int) -> torch.Tensor:
        train = loaders(task, recipe, seed=seed, workers=workers).train
        return torch.cat([seen(train)[0], seen(train)[0]])

    here = two_epochs(0, 0)
    torch.rand(3), np.random.rand(3)  # the global state is not the loader's
    assert torch.equal(two_epochs(0, 0), here)
    assert torch.equal(two_epochs(0, 2), here)
    assert not torch.equal(two_epochs(1, 0), here)


def test_reading_leaves_global_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(0)
    want = torch.rand(4)
    torch.manual_seed(0)
    seen(loaders(Task(data=str(folder))).train)
    assert torch.equal(torch.rand(4), want)


# ---- images that cannot be read


def break_images(folder: Path) -> None:
    """One truncated JPEG in train and val each, one text called .jpg in val."""
    for split in ("train", "val"):
        path = folder / split / "cat" / "000.png"
        Image.open(path).resize((64, 64)).save(path.with_suffix(".jpg"))
        path.unlink()
        whole = path.with_suffix(".jpg").read_bytes()
        path.with_suffix(".jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "val" / "dog" / "note.jpg").write_text("a text")


@forks
@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_are_counted_once_and_skipped(folder: Path, workers: int) -> None:
    break_images(folder)
    task = Task(data=str(folder), max_corrupt=0.3)
    found = loaders(task, Recipe(batch_size=2), workers=workers)
    for _ in range(3):
        images, labels = seen(found.train)
        assert len(images) == 12  # the next one came in its place
    assert list(found.train.unreadable) == [0]
    images, labels = seen(found.val)
    assert len(images) == 6
    assert labels.tolist() == [0, 0, 1, 1, 1, 1]
    assert sorted(found.val.unreadable) == [0, 7]


@pytest.mark.parametrize("workers", [0, 1])
@forks
def test_too_many_unreadable_images_are_an_error(folder: Path, workers: int) -> None:
    break_images(folder)
    found = loaders(Task(data=str(folder), max_corrupt=0.2), workers=workers)
    message = r"val: 2 or more of 8 images cannot be read, allowed are 1 .*000\.jpg .*note\.jpg"
    with pytest.raises(DataError, match=message):
        seen(found.val)
    with pytest.raises(DataError, match=r"train: 1 or more of 12 .* allowed are 0 "):
        seen(loaders(Task(data=str(folder), max_corrupt=0)).train)


def test_nothing_readable_is_an_error_whatever_is_allowed(folder: Path) -> None:
    for path in folder.glob("*/*/*.png"):
        path.write_text("a text")
    found = loaders(Task(data=str(folder), max_corrupt=1.0))
    with pytest.raises(DataError, match=r"train: 12 or more of 12"):
        seen(found.train)
    with pytest.raises(DataError, match=r"val: 7 or more of 7"):
        seen(found.val)


@pytest.mark.skipif(not PACK.exists(), reason=f"{PACK} is not beside this checkout")
def test_real_jpegs(tmp_path: Path) -> None:
    with tarfile.open(PACK) as pack:
        wanted = [m for m in pack if m.isfile() and "/test/" in f"/{m.name}"]
        pack.extractall(tmp_path, wanted, filter="data")
    root = next(tmp_path.rglob("test")).parent
    task = Task(data=str(root), max_corrupt=0.0)
    val = validation_loader(
        task, split="test", resolution=64, crop_pct=1.0, batch_size=256, device=CPU
    )
    images, labels = seen(val)
    assert images.shape == (1000, 3, 64, 64)
    assert torch.bincount(labels).tolist() == [50] * 20
    assert abs(images.mean()) < 0.5  # normalised
