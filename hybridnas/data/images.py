"""Labelled images in splits: a folder in ImageFolder layout, or the digits that need no download.

    DIR/train/<class>/*.jpg    DIR/val/<class>/*.jpg    DIR/test/<class>/*.jpg (optional)

Opening a split lists its files and reads none of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..config import Task
from ..errors import DataError
from .digits import SPLITS, digits

# As `task.data`; a folder of that name is reached as ./digits.
DIGITS = "digits"


@dataclass(frozen=True, eq=False)
class Split:
    """One split: N images, each of one class.

    where: the folder, for messages.
    labels: (N,) int64, positions in class_names.
    sources: N paths, or the images themselves as (N, H, W) uint8 in grey.
    """

    where: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    sources: Sequence[str] | NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """Of each file's name, size and time, or of the pixels, and of classes and labels.

        Times count because a picture that was replaced may have the old one's size.
        """
        content = hashlib.sha256(json.dumps(self.class_names).encode() + self.labels.tobytes())
        if isinstance(self.sources, np.ndarray):
            content.update(repr(self.sources.shape).encode() + self.sources.tobytes())
            return content.hexdigest()
        for source in self.sources:
            stat = os.stat(source)
            name = os.path.relpath(source, self.where)
            content.update(f"{name}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
        return content.hexdigest()

    def read(self, index: int) -> Image.Image:
        """The image in RGB; raises whatever its decoder raises when it cannot be read."""
        source = self.sources[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source).convert("RGB")
        with Image.open(source) as image:
            return as_rgb(image)

    def sample(self, index: int) -> tuple[Image.Image, int]:
        """What a loader asks for: the image and its label."""
        return self.read(index), int(self.labels[index])

    def size(self, index: int) -> tuple[int, int]:
        """(height, width), from the head of the file alone; raises as `read` does."""
        source = self.sources[index]
        if isinstance(source, np.ndarray):
            return source.shape[0], source.shape[1]
        with Image.open(source) as image:
            return image.height, image.width

    def name(self, index: int) -> str:
        source = self.sources[index]
        return source if isinstance(source, str) else f"{self.where}[{index}]"

    def part(self, share: float) -> Split:
        """So much of each class, rounded up, in the split's order; always the same images, and
        those of a smaller share are among those of a larger one."""
        if share == 1:
            return self
        ranks = [hashlib.sha256(self._key(i).encode()).digest() for i in range(len(self))]
        kept: list[int] = []
        for label in range(len(self.class_names)):
            members = sorted(np.flatnonzero(self.labels == label).tolist(), key=ranks.__getitem__)
            kept += members[: math.ceil(share * len(members))]
        kept.sort()
        sources = (
            self.sources[kept]
            if isinstance(self.sources, np.ndarray)
            else [self.sources[i] for i in kept]
        )
        return Split(self.where, self.class_names, self.labels[kept], sources)

    def _key(self, index: int) -> str:
        """Of an image, wherever the data lies."""
        source = self.sources[index]
        return Path(source).name if isinstance(source, str) else str(index)

    def counts(self) -> dict[str, int]:
        """The number of images of each class."""
        numbers = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, numbers.tolist(), strict=True))


def open_split(task: Task, split: str) -> Split:
    """A split by its name; DataError says what is missing, and what there is instead."""
    if task.data == DIGITS:
        return _open_digits(split)
    return _open_folder(Path(task.data).expanduser(), split)


def open_splits(task: Task) -> tuple[Split, Split]:
    """What is trained on and what is scored on; DataError when their classes differ."""
    train, val = open_split(task, task.train), open_split(task, task.val)
    if train.class_names != val.class_names:
        only_train = sorted(set(train.class_names) - set(val.class_names))
        only_val = sorted(set(val.class_names) - set(train.class_names))
        raise DataError(
            f"the classes of {train.where} and {val.where} must be the same, but "
            f"{some(only_train)} only in the first, {some(only_val)} only in the second"
        )
    return train, val


def class_names(task: Task) -> tuple[str, ...]:
    """The names in the order of a model's outputs."""
    return open_split(task, task.train).class_names


def num_classes(task: Task) -> int:
    return len(class_names(task))


def data_digest(task: Task) -> str:
    """12 hex digits of what the task's data holds, wherever it lies.

    That is class, name and size of each file in each split that the task uses; none is opened.
    Digits: their pixels.
    """
    content = hashlib.sha256()
    for role, split in zip(("train", "val"), open_splits(task), strict=True):
        content.update(json.dumps([role, split.class_names]).encode())
        if isinstance(split.sources, np.ndarray):
            content.update(split.sources.tobytes() + split.labels.tobytes())
            continue
        for source, label in zip(split.sources, split.labels.tolist(), strict=True):
            file = Path(source)
            content.update(
                f"{label}/{file.relative_to(split.where)}:{file.stat().st_size}".encode()
            )
    return content.hexdigest()[:12]


def as_rgb(image: Image.Image) -> Image.Image:
    """Any picture in RGB; raises whatever its decoder raises when it cannot be read."""
    if image.mode.startswith("I;16"):
        # Pillow would cut 16 bits off at 255, which leaves a white image.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert("RGB")


def _open_digits(split: str) -> Split:
    if split not in SPLITS:
        raise DataError(f"digits have no split {split!r}; allowed: {', '.join(SPLITS)}")
    images, labels = digits(split)
    return Split(f"{DIGITS}/{split}", tuple("0123456789"), labels, images)


def _open_folder(root: Path, split: str) -> Split:
    folder = root / split
    _check_folders(root, folder)
    classes = subfolders(folder)
    if len(classes) < 2:
        raise DataError(
            f"{folder}: got {len(classes)} class folders ({some(classes)}), needed are two "
            "or more, each with the images of one class"
        )
    index = {name: label for label, name in enumerate(classes)}
    listed = ImageFolder.make_dataset(str(folder), index, IMG_EXTENSIONS, allow_empty=True)
    # Hidden files are an operating system's notes, not images.
    samples = [(path, label) for path, label in listed if not Path(path).name.startswith(".")]
    labels = np.array([label for _, label in samples], dtype=np.int64)
    opened = Split(str(folder), tuple(classes), labels, [path for path, _ in samples])
    empty = [name for name, number in opened.counts().items() if not number]
    if empty:
        raise DataError(
            f"{folder}: no images in {some(empty)}; an image's name ends in one of "
            f"{', '.join(IMG_EXTENSIONS)}"
        )
    return opened


def _check_folders(root: Path, folder: Path) -> None:
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"task.data: {root} {what}; allowed is {DIGITS!r} or a folder "
            "that holds one folder a split, with one folder a class"
        )
    if not folder.is_dir():
        raise DataError(
            f"task.data: {root} has no folder {folder.name}; {root} holds {some(subfolders(root))}"
        )


def subfolders(folder: Path) -> list[str]:
    """Their names in order, without hidden ones."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def some(names: list[str], most: int = 8) -> str:
    """A list for a message: its first few names, or `none`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
