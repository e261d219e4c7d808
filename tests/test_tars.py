"""Tar files of images, against the same pictures in folders."""

from __future__ import annotations

import io
import os
import pickle
import resource
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from archive_helpers import (
    CLASSES,
    NUMBERS,
    an_archive_a_class,
    an_archive_a_split,
    archives_in_an_archive,
    one_archive,
)
from PIL import Image

from hybridnas.config import Fidelity, Protocol, Recipe, Task
from hybridnas.data import data_digest, open_split, open_splits, tars
from hybridnas.tasks import TASKS

pytest_plugins = ["archive_helpers"]

FORMS = (one_archive, an_archive_a_split, an_archive_a_class, archives_in_an_archive)


@pytest.mark.parametrize("form", FORMS)
def test_tar_files_hold_what_folders_do(
    form: Callable[[Path, Path], str], three_classes: Path, tmp_path: Path
) -> None:
    data = form(three_classes, tmp_path / "packed")
    for split, number in NUMBERS.items():
        plain, stored = (
            open_split(Task(data=where), split) for where in (str(three_classes), data)
        )
        assert stored.class_names == CLASSES
        assert stored.counts() == dict.fromkeys(CLASSES, number)
        assert stored.labels.tolist() == plain.labels.tolist()
        for i in range(len(plain)):
            assert stored.read(i).tobytes() == plain.read(i).tobytes()
            assert stored.size(i) == plain.size(i)
            assert Path(plain.name(i)).name in stored.name(i)


def test_tar_files_are_read_from_any_thread_and_after_pickling(
    three_classes: Path, tmp_path: Path
) -> None:
    split = open_split(Task(data=one_archive(three_classes, tmp_path / "packed")), "train")
    wanted = [split.read(i).tobytes() for i in range(len(split))]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            read = pool.map(lambda i: split.read(i).tobytes(), range(len(split)))
            assert list(read) == wanted
    assert pickle.loads(pickle.dumps(split)).read(3).tobytes() == wanted[3]


def test_the_digest_knows_a_tar_by_what_it_holds(three_classes: Path, tmp_path: Path) -> None:
    here, there = (one_archive(three_classes, tmp_path / name) for name in ("a", "b"))
    assert data_digest(*open_splits(Task(data=here))) == data_digest(*open_splits(Task(data=there)))
    Image.new("RGB", (30, 30)).save(three_classes / "val" / "cat" / "cat0.png")
    other = one_archive(three_classes, tmp_path / "c")
    assert data_digest(*open_splits(Task(data=other))) != data_digest(*open_splits(Task(data=here)))


def test_the_cache_knows_when_an_archive_was_written(three_classes: Path, tmp_path: Path) -> None:
    """Pictures of the same names and sizes may have other pixels."""
    task = Task(data=one_archive(three_classes, tmp_path))
    before, digest = open_split(task, "train"), data_digest(*open_splits(task))
    assert open_split(task, "train").fingerprint == before.fingerprint
    os.utime(task.data, (1, 1))
    after = open_split(task, "train")
    assert after.fingerprint != before.fingerprint
    assert after.take([0, 3]).fingerprint != before.take([0, 3]).fingerprint
    assert data_digest(*open_splits(task)) == digest


def test_batches_come_from_a_tar(three_classes: Path, tmp_path: Path) -> None:
    def batch(data: str) -> torch.Tensor:
        protocol = Protocol(
            task=Task(data=data),
            recipe=Recipe(batch_size=7),
            fidelity=Fidelity(epochs=1, resolution=16),
        )
        loaders = TASKS["classification"].loaders(protocol, torch.device("cpu"), 0)
        return torch.cat([images for images, _ in loaders.train])

    assert torch.equal(
        batch(str(three_classes)), batch(one_archive(three_classes, tmp_path / "packed"))
    )


def test_more_archives_than_a_process_may_open_are_read(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 8, 7)).save(picture, "PNG")
    (tmp_path / "train").mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = len(os.listdir("/dev/fd")) + tars._MOST_OPEN + 20
    for i in range(number):
        with tarfile.open(tmp_path / "train" / f"kind{i}.tar", "w") as tar:
            entry = tarfile.TarInfo("0.png")
            entry.size = len(picture.getvalue())
            tar.addfile(entry, io.BytesIO(picture.getvalue()))
    split = open_split(Task(data=str(tmp_path)), "train")
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        with ThreadPoolExecutor(8) as pool:  # what one thread reads, another's turn may close
            found = set(pool.map(lambda i: split.read(i).tobytes(), [*range(number)] * 3))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == {bytes((9, 8, 7)) * 16}


def test_an_archive_that_took_the_place_of_another_is_read(
    three_classes: Path, tmp_path: Path
) -> None:
    path = one_archive(three_classes, tmp_path / "packed")
    open_split(Task(data=path), "train").read(0)
    Image.new("RGB", (4, 4)).save(three_classes / "train" / "cat" / "cat0.png")
    Path(one_archive(three_classes, tmp_path / "new")).replace(path)
    new = open_split(Task(data=path), "train")
    plain = open_split(Task(data=str(three_classes)), "train")
    for i in range(len(plain)):
        assert new.read(i).tobytes() == plain.read(i).tobytes()
