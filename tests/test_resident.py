"""Splits that stay decoded: the bytes, the accounting, the cache, and the order of an epoch."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import tarfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hybridnas.config import Task
from hybridnas.data import Split, decoding, open_split, resident
from hybridnas.data.decoding import Decoded, Scored, Whole
from hybridnas.data.order import epoch_order
from hybridnas.data.resident import ResidentImages, ScoringBatches
from hybridnas.errors import DataError
from hybridnas.tasks.classification import score, validation_loader

CPU = torch.device("cpu")
PACK = (
    Path(os.environ.get("HYBRIDNAS_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    / "cls_tin20_64.tar.gz"
)
SIZES = [(16, 16), (40, 24), (24, 60), (100, 80), (12, 30)]  # height, width


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    resident.forget()
    yield
    resident.forget()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of five pictures of all SIZES; the labels are 0 five times, then 1."""
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        place = tmp_path / "pets" / "train" / label
        place.mkdir(parents=True)
        for i, (height, width) in enumerate(SIZES):
            pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")
    return tmp_path / "pets"


def split_of(folder: Path) -> Split:
    return open_split(Task(data=str(folder)), "train")


def load(
    folder: Path,
    form: decoding.Form | None = None,
    *,
    allowed: float = 0.0,
    cache: Path | None = None,
) -> ResidentImages:
    found = resident.load_resident(
        split_of(folder), form or Whole(48), device=CPU, max_corrupt=allowed, cache=cache
    )
    assert found is not None
    return found


# ---- bytes


def test_pictures_are_kept_as_they_are_or_shrunk_by_axis(folder: Path) -> None:
    images, split = load(folder), split_of(folder)
    assert images.pixels.shape == (10, 3, 48, 48)
    assert images.sizes.tolist() == [list(size) for size in SIZES * 2]
    assert images.labels.tolist() == [0] * 5 + [1] * 5
    for index, (height, width) in enumerate(SIZES * 2):
        picture = split.read(index)
        h, w = min(height, 48), min(width, 48)
        if (h, w) != (height, width):
            picture = picture.resize((w, h), Image.Resampling.BICUBIC)
        stored = images.pixels[index]
        assert np.array_equal(stored[:, :h, :w].permute(1, 2, 0), np.asarray(picture))
        assert stored[:, h:].sum() == 0
        assert stored[:, :, w:].sum() == 0


def test_equal_small_pictures_take_what_they_need(tmp_path: Path) -> None:
    train = resident.load_resident(
        open_split(Task(), "train"), Whole(96), device=CPU, max_corrupt=0.0
    )
    assert train is not None
    assert train.pixels.shape == (1000, 3, 32, 32)
    assert torch.equal(train.pixels[:, 0], torch.from_numpy(open_split(Task(), "train").sources))


def test_label_maps_keep_their_labels(tmp_path: Path) -> None:
    class Maps:
        def __len__(self) -> int:
            return 1

        def size(self, index: int) -> tuple[int, int]:
            return 30, 90

        def read(self, index: int) -> Image.Image:
            return Image.fromarray(np.tile(np.arange(90, dtype=np.uint8), (30, 1)))

    found = decoding.decode(Maps(), Whole(45, labels=True), lambda bad: None)
    assert found.pixels.shape == (1, 1, 30, 45)
    assert found.pixels[0, 0, 0].tolist() == list(range(1, 90, 2))


def test_scored_pictures_are_the_loaders_batches(folder: Path) -> None:
    task = Task(data=str(folder), val="train")
    loader = validation_loader(task, resolution=20, crop_pct=0.9, batch_size=4, device=CPU)
    ours = ScoringBatches(load(folder, Scored(20, 0.9)), batch_size=4)
    assert (len(ours), ours.batch_size) == (len(loader), loader.batch_size)
    for (images, labels), (wanted, wanted_labels) in zip(ours, loader, strict=True):
        assert torch.equal(images, wanted)
        assert torch.equal(labels, wanted_labels)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1200, 2))
    assert score(model, ours, CPU) == score(model, loader, CPU)  # type: ignore[arg-type]


def test_a_batch_is_what_its_indices_say(folder: Path) -> None:
    images = load(folder)
    batch = images.take(torch.tensor([7, 0, 7]))
    assert torch.equal(batch.images, images.pixels[[7, 0, 7]])
    assert batch.sizes.tolist() == [[24, 60], [16, 16], [24, 60]]
    assert batch.labels.tolist() == [1, 0, 1]


# ---- pictures that cannot be read


def test_unreadable_pictures_are_counted_and_replaced(folder: Path) -> None:
    for name in ("cat/1.png", "dog/4.png"):
        (folder / "train" / name).write_text("a text")
    whole = (folder / "train" / "dog" / "3.png").read_bytes()
    (folder / "train" / "dog" / "3.png").write_bytes(whole[: len(whole) // 2])
    images = load(folder, allowed=0.3)
    assert sorted(images.unreadable) == [1, 8, 9]
    assert images.stand_ins.tolist() == [0, 2, 2, 3, 4, 5, 6, 7, 0, 0]
    assert images.readable.tolist() == [0, 2, 3, 4, 5, 6, 7]
    scored = ScoringBatches(load(folder, Scored(16), allowed=0.3), batch_size=4)
    assert sum(len(labels) for _, labels in scored) == 7
    message = r"train: 3 or more of 10 images cannot be read, allowed are 2 .*1\.png "
    with pytest.raises(DataError, match=message):
        load(folder, allowed=0.2)  # what is kept was allowed more


def test_too_many_unreadable_pictures_stop_the_decoding(folder: Path, tmp_path: Path) -> None:
    for place in folder.glob("train/*/*.png"):
        place.write_text("a text")
    with pytest.raises(DataError, match=r"train: 10 or more of 10 images cannot be read"):
        load(folder, allowed=1.0, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/pixels.npy"))


# ---- cache


def test_a_process_decodes_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder)
    monkeypatch.setattr(resident, "decode", None)
    assert load(folder) is first
    resident.forget()
    with pytest.raises(TypeError):
        load(folder)


def test_the_cache_gives_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = load(folder, cache=cache)
    resident.forget()
    monkeypatch.setattr(resident, "decode", None)  # nothing may decode again
    second = load(folder, cache=cache)
    assert first is not second
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.sizes, second.sizes)
    second.pixels.zero_()  # mapped copy-on-write: the file stays what it is
    resident.forget()
    assert torch.equal(load(folder, cache=cache).pixels, first.pixels)


def test_a_replaced_picture_is_seen(folder: Path, tmp_path: Path) -> None:
    before = load(folder, cache=tmp_path)
    place = folder / "train" / "cat" / "0.png"
    # Another picture in a file of the same size, as uncompressed formats have it.
    pixels = np.asarray(Image.open(place).convert("RGB"))
    Image.fromarray(pixels[::-1].copy()).save(place, format="BMP")
    os.utime(place, ns=(1, 1))
    first = load(folder, cache=tmp_path)
    Image.fromarray(pixels).save(place, format="BMP")
    os.utime(place, ns=(2, 2))
    second = load(folder, cache=tmp_path)
    assert torch.equal(first.pixels[0].flip(1)[:, -16:], second.pixels[0][:, :16])
    assert torch.equal(second.pixels, before.pixels)


@pytest.mark.parametrize("damage", ["short", "index", "shape", "missing"])
def test_a_broken_cache_is_made_anew(
    folder: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(folder, cache=tmp_path / "cache")
    wanted = first.pixels.clone()
    resident.forget()
    [pixels] = (tmp_path / "cache").glob("*/pixels.npy")
    index = pixels.with_name("index.json")
    if damage == "short":
        pixels.write_bytes(pixels.read_bytes()[:-100])
    elif damage == "index":
        index.write_text("{")
    elif damage == "shape":
        index.write_text(json.dumps(json.loads(index.read_text()) | {"shape": [1, 3, 2, 2]}))
    else:
        index.unlink()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(load(folder, cache=tmp_path / "cache").pixels, wanted)
    assert "is broken and is made anew" in caplog.text


def test_a_cache_that_cannot_be_written_is_no_error(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert len(load(folder, cache=tmp_path / "file" / "cache")) == 10
    assert "are not kept in" in caplog.text


def _slow_make(cache: Path, number: int) -> None:
    from hybridnas.data.decoded_cache import cached

    def make() -> Decoded:
        (cache.parent / f"made-{number}").touch()
        time.sleep(0.3)
        return Decoded(np.full((2, 3, 4, 4), 7, np.uint8), np.full((2, 2), 4, np.int32), {})

    assert int(cached(cache, "key", make).pixels.sum()) == 7 * 96


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_processes_that_start_together_decode_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_slow_make, args=(tmp_path / "cache", i)) for i in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(list(tmp_path.glob("made-*"))) == 1
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["key", "key.lock"]


def test_what_does_not_fit_streams(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    needed = 10 * 3 * 48 * 48
    monkeypatch.setattr(resident, "free_host_memory", lambda: 2 * needed - 1)
    split = split_of(folder)
    with caplog.at_level(logging.WARNING):
        assert resident.load_resident(split, Whole(48), device=CPU, max_corrupt=0.0) is None
    assert "streams instead" in caplog.text
    monkeypatch.setattr(resident, "free_host_memory", lambda: 2 * needed)
    assert resident.load_resident(split, Whole(48), device=CPU, max_corrupt=0.0) is not None


def test_placement_follows_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 8000))
    monkeypatch.setattr(resident, "free_host_memory", lambda: 10000)
    cuda = torch.device("cuda")
    assert [resident.placement(n, cuda) for n in (1000, 1001, 5000, 5001)] == [
        "device",
        "host",
        "host",
        "stream",
    ]
    assert resident.placement(1000, CPU) == "host"


def test_progress_is_told(folder: Path) -> None:
    told: list[tuple[int, int]] = []
    decoding.decode(
        split_of(folder), Whole(8), lambda bad: None, lambda done, num: told.append((done, num))
    )
    assert told[-1] == (10, 10)


# ---- order


def test_an_epoch_takes_each_image_at_most_once() -> None:
    order = epoch_order(103, 10, seed=0, epoch=0)
    assert order.shape == (10, 10)
    assert len(order.unique()) == 100
    assert set(order.flatten().tolist()) <= set(range(103))


def test_order_follows_seed_and_epoch_alone() -> None:
    first = epoch_order(100, 10, seed=3, epoch=4)
    torch.manual_seed(9)
    assert torch.equal(epoch_order(100, 10, seed=3, epoch=4), first)
    others = [epoch_order(100, 10, seed=s, epoch=e) for s, e in ((4, 3), (3, 5), (2, 5), (0, 0))]
    assert not any(torch.equal(first, other) for other in others)
    # Pinned: a later version must not change what a stored evaluation's seed means.
    assert epoch_order(6, 3, seed=1, epoch=2).tolist() == [[4, 2, 5], [3, 1, 0]]


@pytest.mark.parametrize("batch_size", [0, 7])
def test_a_batch_must_fit_into_the_set(batch_size: int) -> None:
    with pytest.raises(ValueError, match=r"batch_size must be 1 \.\.\. 6 \(the images\), got"):
        epoch_order(6, batch_size, seed=0, epoch=0)


@pytest.mark.skipif(not PACK.exists(), reason=f"{PACK} is not beside this checkout")
def test_real_pictures_open_from_the_cache_in_a_moment(tmp_path: Path) -> None:
    with tarfile.open(PACK) as pack:
        wanted = [m for m in pack if m.isfile() and "/test/" in f"/{m.name}"]
        pack.extractall(tmp_path, wanted, filter="data")
    root = next(tmp_path.rglob("test")).parent
    split = open_split(Task(data=str(root)), "test")
    keep = partial(
        resident.load_resident,
        split,
        Whole(96),
        device=CPU,
        max_corrupt=0.0,
        cache=tmp_path / "cache",
    )
    first = keep()
    resident.forget()
    started = time.perf_counter()
    second = keep()
    assert time.perf_counter() - started < 1
    assert first is not None
    assert second is not None
    assert first.pixels.shape == (1000, 3, 64, 64)
    assert torch.equal(first.pixels, second.pixels)
    picture = np.asarray(split.read(123))
    assert np.array_equal(second.pixels[123].permute(1, 2, 0), picture)
