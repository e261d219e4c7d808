"""Decoded pictures of one process for the next: the same bytes, whole or not at all."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from resident_helpers import CPU, load

from hybridnas.config import Task
from hybridnas.data import open_split, resident
from hybridnas.data.decoded_cache import cached
from hybridnas.data.decoding import Decoded, Whole

pytest_plugins = ["resident_helpers"]
pytestmark = pytest.mark.usefixtures("nothing_kept")

PACK = (
    Path(os.environ.get("HYBRIDNAS_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
    / "cls_tin20_64.tar.gz"
)


def test_a_process_decodes_once(two_classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(two_classes)
    monkeypatch.setattr(resident, "decode", None)
    assert load(two_classes) is first
    resident.forget()
    with pytest.raises(TypeError):
        load(two_classes)


def test_the_cache_gives_the_same_bytes(
    two_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    first = load(two_classes, cache=cache)
    resident.forget()
    monkeypatch.setattr(resident, "decode", None)  # nothing may decode again
    second = load(two_classes, cache=cache)
    assert first is not second
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.sizes, second.sizes)
    second.pixels.zero_()  # mapped copy-on-write: the file stays what it is
    resident.forget()
    assert torch.equal(load(two_classes, cache=cache).pixels, first.pixels)


def test_a_replaced_picture_is_seen(two_classes: Path, tmp_path: Path) -> None:
    before = load(two_classes, cache=tmp_path)
    place = two_classes / "train" / "cat" / "0.png"
    # Another picture in a file of the same size, as uncompressed formats have it.
    pixels = np.asarray(Image.open(place).convert("RGB"))
    Image.fromarray(pixels[::-1].copy()).save(place, format="BMP")
    os.utime(place, ns=(1, 1))
    first = load(two_classes, cache=tmp_path)
    Image.fromarray(pixels).save(place, format="BMP")
    os.utime(place, ns=(2, 2))
    second = load(two_classes, cache=tmp_path)
    assert torch.equal(first.pixels[0].flip(1)[:, -16:], second.pixels[0][:, :16])
    assert torch.equal(second.pixels, before.pixels)


@pytest.mark.parametrize("damage", ["short", "index", "shape", "missing"])
def test_a_broken_cache_is_made_anew(
    two_classes: Path, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = load(two_classes, cache=tmp_path / "cache")
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
        assert torch.equal(load(two_classes, cache=tmp_path / "cache").pixels, wanted)
    assert "is broken and is made anew" in caplog.text


def test_a_cache_that_cannot_be_written_is_no_error(
    two_classes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert len(load(two_classes, cache=tmp_path / "file" / "cache")) == 10
    assert "are not kept in" in caplog.text


def _slow_make(cache: Path, number: int) -> None:
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
    started = time.process_time()
    second = keep()
    assert time.process_time() - started < 1
    assert first is not None
    assert second is not None
    assert first.pixels.shape == (1000, 3, 64, 64)
    assert torch.equal(first.pixels, second.pixels)
    picture = np.asarray(split.read(123))
    assert np.array_equal(second.pixels[123].permute(1, 2, 0), picture)
