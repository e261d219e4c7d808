"""Other forms of labelled images, against the same pictures in folders or timm's reader."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from archive_helpers import (
    CLASSES,
    NUMBERS,
    one_archive,
    packed,
)
from timm.data import create_dataset

from hybridnas.config import Task
from hybridnas.data import data_digest, open_split, open_splits
from hybridnas.data.hub_sets import _TorchvisionImages
from hybridnas.data.readers import full_path
from hybridnas.data.split import Split
from hybridnas.data.stored import Stored
from hybridnas.errors import DataError

pytest_plugins = ["archive_helpers"]

# ---- WebDataset


def shards(three_classes: Path, at: Path, info: bool) -> str:
    """Two shards a split, each sample a .png and a .cls."""
    at.mkdir()
    splits = {}
    for split in NUMBERS:
        files = sorted((three_classes / split).rglob("*.png"))
        names, lengths = [f"{split}-{i:04}.tar" for i in range(2)], []
        for name, part in zip(names, (files[::2], files[1::2]), strict=True):
            lengths.append(len(part))
            with tarfile.open(at / name, "w") as tar:
                for path in part:
                    label = str(CLASSES.index(path.parent.name)).encode()
                    for kind, content in (("png", path.read_bytes()), ("cls", label)):
                        entry = tarfile.TarInfo(f"{path.stem}.{kind}")
                        entry.size = len(content)
                        tar.addfile(entry, io.BytesIO(content))
        splits[split] = {
            "name": split,
            "filenames": names,
            "shard_lengths": lengths,
            "num_samples": len(files),
        }
    if info:
        (at / "info.json").write_text(json.dumps({"splits": splits}))
    return f"wds/{at}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset's
@pytest.mark.parametrize("info", [True, False])
def test_webdataset_shards_hold_what_timm_reads(
    info: bool, three_classes: Path, tmp_path: Path
) -> None:
    data = shards(three_classes, tmp_path / "shards", info)
    split = open_split(Task(data=data), "val")
    assert split.class_names == ("0", "1", "2")
    described = "val" if info else "val-{0000..0001}.tar|6"
    timms = create_dataset("wds/", root=str(tmp_path / "shards"), split=described)
    wanted = [(image.tobytes(), label) for image, label in timms]
    mine = [(split.read(i).tobytes(), int(split.labels[i])) for i in range(len(split))]
    assert sorted(mine) == sorted(wanted)
    (tmp_path / "shards" / "classes.txt").write_text("cat\ndog\nemu\n")
    assert open_split(Task(data=data), "train").class_names == CLASSES


# ---- Hugging Face, torchvision


def test_hugging_face_sets_hold_what_timm_reads(
    three_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list(CLASSES))
    )
    for split in NUMBERS:
        files = sorted((three_classes / split).rglob("*.png"))
        rows = [
            {
                "image": {"bytes": file.read_bytes(), "path": file.name},
                "label": CLASSES.index(file.parent.name),
            }
            for file in files
        ]
        made = datasets.Dataset.from_list(rows, features=features)
        made.to_parquet(tmp_path / "set" / f"{split}-00000-of-00001.parquet")
    task = Task(data=f"hfds/{tmp_path / 'set'}", val="validation")
    train, val = open_splits(task)
    assert train.class_names == val.class_names == CLASSES
    plain = open_split(Task(data=str(three_classes)), "train")
    assert train.labels.tolist() == plain.labels.tolist()
    for i in range(len(plain)):
        assert train.read(i).tobytes() == plain.read(i).tobytes()
    assert train.counts() == dict.fromkeys(CLASSES, 5)
    assert len(data_digest(*open_splits(task))) == 12
    assert isinstance(train.sources, Stored)
    assert train.sources.changed(0) > 0
    with pytest.raises(DataError, match=r"has no split 'night' that can be opened"):
        open_split(task, "night")


def test_torchvision_sets_are_opened(tmp_path: Path) -> None:
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    random = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for name in names:
        content = {
            "data": random.integers(0, 256, (4, 3072), dtype=np.uint8),
            "labels": [0, 1, 2, 9],
        }
        (base / name).write_bytes(pickle.dumps(content))
    kinds = [f"kind{i}" for i in range(10)]
    (base / "batches.meta").write_bytes(pickle.dumps({"label_names": kinds}))
    import torchvision.datasets as tv

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tv.CIFAR10, "_check_integrity", lambda self: True)
        patch.setattr("torchvision.datasets.cifar.check_integrity", lambda *a: True)
        train, val = open_splits(Task(data=f"torch/cifar10:{tmp_path}"))
    assert (len(train), len(val)) == (20, 4)
    assert train.class_names == tuple(kinds)
    first = pickle.loads((base / names[0]).read_bytes())["data"][1]
    pixels = np.asarray(train.read(1))
    assert np.array_equal(pixels, first.reshape(3, 32, 32).transpose(1, 2, 0))


def test_files_of_a_torchvision_set_that_were_replaced_are_noticed(three_classes: Path) -> None:
    samples = [(str(path), 0) for path in sorted((three_classes / "train" / "cat").iterdir())]
    images = _TorchvisionImages("pets", SimpleNamespace(samples=samples))
    split = Split("pets", ("cat",), np.zeros(len(samples), np.int64), images)
    before = replace(split).fingerprint
    os.utime(samples[0][0], (1, 1))
    assert replace(split).fingerprint != before
    assert replace(split).identity() == split.identity()


# ---- what is refused


def test_a_folder_is_no_archive_whatever_its_name(three_classes: Path) -> None:
    (three_classes / "train" / "cat").rename(three_classes / "train" / "cat.tar")
    assert open_split(Task(data=str(three_classes)), "train").class_names == (
        "cat.tar",
        "dog",
        "emu",
    )


def test_a_compressed_archive_is_refused(three_classes: Path, tmp_path: Path) -> None:
    """Its pictures have no places of their own in the file."""
    with tarfile.open(tmp_path / "pets.tar", "w:gz") as tar:
        tar.add(three_classes, "pets")
    with pytest.raises(DataError, match=r"pets.tar is no tar file that can be read"):
        open_split(Task(data=str(tmp_path / "pets.tar")), "train")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{at}/none.tar", r"none.tar does not exist"),
        ("{at}/text.tar", r"text.tar is no tar file that can be read"),
        ("{at}/flat.tar", r"has no images in train/CLASS; the folders in it that hold folders are"),
        ("wds/{at}/nowhere", r"^task.data: /[^/].*/nowhere must be a folder of WebDataset"),
        ("wds/{at}/empty", r"has neither info.json nor shards train-\*.tar"),
        ("torch/cifar10", r"does not say where it lies: torch/NAME:DIR"),
        ("torch/cifar10:{at}/empty", r"torch/cifar10:.*/empty has no split 'train'"),
        ("torch/mine:{at}/empty", r"torch/mine:.*Unknown torchvision dataset mine"),
        ("hfds/{at}/empty", r"hfds/.*/empty has no split 'train' that can be opened"),
    ],
)
def test_data_that_is_not_there_is_named(
    data: str, message: str, three_classes: Path, tmp_path: Path
) -> None:
    at = tmp_path / "wrong"
    (at / "empty").mkdir(parents=True)
    (at / "text.tar").write_text("a text, and no archive at all" * 100)
    packed(three_classes / "train", at / "flat.tar")
    with pytest.raises(DataError, match=message):
        open_split(Task(data=data.format(at=at)), "train")


def test_a_class_beyond_those_of_training_is_named(three_classes: Path, tmp_path: Path) -> None:
    data = shards(three_classes, tmp_path / "shards", info=True)
    (tmp_path / "shards" / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"found class 2 in val, allowed are 0 to 1"):
        open_split(Task(data=data), "val")


def test_an_archive_that_was_cut_off_has_unreadable_images(
    three_classes: Path, tmp_path: Path
) -> None:
    path = Path(one_archive(three_classes, tmp_path / "packed"))
    split = open_split(Task(data=str(path)), "train")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(OSError, match=r"pets.tar ends within"):
        split.read(len(split) - 1)


def test_shards_that_cannot_be_read_are_named(
    three_classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shards(three_classes, tmp_path / "shards", info=True)

    def refuse(*_: object) -> bytes:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pread", refuse)
    with pytest.raises(DataError, match=r"\.tar: cat0.cls cannot be read: .*Too many open files"):
        open_split(Task(data=data), "val")
    monkeypatch.setattr(tarfile, "open", refuse)
    os.utime(tmp_path / "shards" / "val-0000.tar", (1, 1))
    with pytest.raises(DataError, match=r"val-0000.tar cannot be read: Too many open files"):
        open_split(Task(data=data), "val")


def test_data_is_named_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    assert full_path("pets") == str(tmp_path / "pets")
    assert full_path("wds/pets") == f"wds/{tmp_path / 'pets'}"
    assert full_path("hfds/set") == f"hfds/{tmp_path / 'set'}"
    assert full_path("hfds/timm/mini-imagenet") == "hfds/timm/mini-imagenet"
    assert full_path("torch/cifar10:sets") == f"torch/cifar10:{tmp_path / 'sets'}"
