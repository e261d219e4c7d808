"""Labelled images in other forms than a folder of folders, by the names that timm has for them.

    DIR, FILE.tar       tar files: FILE.tar with train/CLASS/*.jpg in it, DIR with train.tar and
                        val.tar, or DIR/train/*.tar, one a class as ImageNet's
    wds/DIR             WebDataset: shards, and the info.json that timm reads; or DIR with shards
                        SPLIT-*.tar
    hfds/NAME           a data set of Hugging Face `datasets`, from its hub or a folder
    torch/NAME:DIR      one of torchvision: cifar10, cifar100, imagenet, ..., in DIR

timm says what there is and how it is labelled. Reading is ours where timm's would run through the
data in an order of its own (WebDataset): all are read in any order, so that batches, subsets and
resumed trainings are the same for any number of processes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..config import Task
from ..data_folder import HUGGING_FACE, TORCHVISION, WEBDATASET, near_split
from ..errors import DataError
from ..user_paths import expanded
from .class_lists import listed_classes
from .hub_sets import open_hugging_face, open_torchvision
from .split import Split, key_of, some
from .tars import Member, TarImages, images_in, is_image, members


def open_with_reader(task: Task, split: str) -> Split | None:
    """The split if task.data names such data, else None. Raises DataError."""
    prefix, slash, rest = task.data.partition("/")
    opener = _BY_PREFIX.get(prefix.lower()) if slash else None
    if opener is not None:
        return opener(rest, split, task)
    path = expanded(task.data)
    if path.is_file() and path.suffix == ".tar":
        return _of_one_archive(path, split, key_of(task, split))
    if (path / f"{split}.tar").is_file():
        return _of_archives(path / split, [path / f"{split}.tar"])
    inner = _visible(path / split) if (path / split).is_dir() else []
    archives = [entry for entry in inner if entry.suffix == ".tar" and entry.is_file()]
    return _of_archives(path / split, archives) if archives else None


def full_path(data: str) -> str:
    """The same data, named so that it is found from any folder."""
    prefix, slash, rest = data.partition("/")
    kind = prefix.lower() if slash else ""
    if kind == TORCHVISION:
        name, _, folder = rest.partition(":")
        return f"{prefix}/{name}:{_full(folder)}"
    if kind == WEBDATASET or (kind == HUGGING_FACE and expanded(rest).is_dir()):
        return f"{prefix}/{_full(rest)}"
    return data if kind == HUGGING_FACE else _full(data)


def _full(path: str) -> str:
    return str(expanded(path).absolute())


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _of_one_archive(path: Path, split: str, key: str) -> Split:
    """An archive of all splits: what lies in a folder SPLIT of it."""
    images = images_in([path])
    inside = [image for image in images if split in image.folders[:-1]]
    if not inside:
        tops = sorted({folder for image in images for folder in image.folders[:-1]})
        near = near_split(split, tops, key)
        raise DataError(
            f"task.data: {path} has no images in {split}/CLASS{near}; the folders in it that hold "
            f"folders are {some(tops)}"
        )
    return _by_folder(f"{path}:{split}", inside)


def _of_archives(where: Path, archives: Sequence[Path]) -> Split:
    return _by_folder(str(where), images_in(archives))


def _by_folder(where: str, images: Sequence[Member]) -> Split:
    """Of the class whose folder, the innermost, each image lies in."""
    if any(not image.folders for image in images):
        raise DataError(f"{where}: its images lie in no folder that names their class")
    classes = sorted({image.folders[-1] for image in images})
    if len(classes) < 2:
        raise DataError(
            f"{where}: got {len(classes)} folders of images ({some(classes)}), needed are two or "
            "more, each with the images of one class"
        )
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[image.folders[-1]] for image in images], np.int64)
    return Split(where, tuple(classes), labels, TarImages(images))


def _open_shards(rest: str, split: str, task: Task) -> Split:
    """WebDataset: samples of an image and a .cls with the number of its class.

    The classes are those of task.train, named in classes.txt where there is one.
    """
    folder = expanded(rest)
    images, labels = _samples(folder, split)
    largest = max(labels if split == task.train else _samples(folder, task.train)[1])
    names = listed_classes(folder) or tuple(str(label) for label in range(largest + 1))
    if max(labels) >= len(names) or min(labels) < 0:
        wrong = max(labels) if max(labels) >= len(names) else min(labels)
        raise DataError(
            f"{folder}: found class {wrong} in {split}, allowed are 0 to {len(names) - 1}"
        )
    return Split(f"{folder}/{split}", names, np.array(labels, np.int64), TarImages(images))


def _samples(folder: Path, split: str) -> tuple[list[Member], list[int]]:
    """In the order of shards; without samples that lack one of the two."""
    images: list[Member] = []
    labels: list[int] = []
    for shard in _shards(folder, split):
        parts: dict[str, dict[str, Member]] = {}
        for member in members(shard):
            key, _, kind = member.name.rpartition("/")[2].partition(".")
            place = f"{'/'.join(member.folders)}/{key}"
            parts.setdefault(place, {})["image" if is_image(member.name) else kind] = member
        for sample in parts.values():
            if "image" in sample and "cls" in sample:
                images.append(sample["image"])
                labels.append(_number(sample["cls"]))
    if not images:
        raise DataError(f"{folder}: no sample of {split} has an image and a .cls")
    return images, labels


def _number(member: Member) -> int:
    path = member.archive.path
    try:
        text = member.read().decode("ascii", "replace").strip()
    except OSError as error:
        raise DataError(f"{path}: {member.name} cannot be read: {error}") from None
    try:
        return int(text)
    except ValueError:
        raise DataError(
            f"{path}: {member.name} must hold the number of a class, got {text[:20]!r}"
        ) from None


def _shards(folder: Path, split: str) -> list[Path]:
    """Those that info.json lists for the split, as timm's reader wants it; else SPLIT-*.tar."""
    if not folder.is_dir():
        raise DataError(f"task.data: {folder} must be a folder of WebDataset shards, and is none")
    for name in ("_info.json", "info.json"):
        if (folder / name).is_file():
            try:
                splits = json.loads((folder / name).read_text(encoding="utf-8"))["splits"]
                return [folder / file for file in splits[split]["filenames"]]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"{folder / name} lists no shards of {split!r} ({type(error).__name__}: "
                    f"{error}); needed is splits.{split}.filenames"
                ) from None
    shards = sorted(folder.glob(f"{split}-*.tar"))
    if not shards:
        raise DataError(f"{folder} has neither info.json nor shards {split}-*.tar")
    return shards


_BY_PREFIX: Mapping[str, Callable[[str, str, Task], Split]] = {
    WEBDATASET: _open_shards,
    HUGGING_FACE: open_hugging_face,
    TORCHVISION: open_torchvision,
}
