"""Labelled images in splits: a folder in ImageFolder layout, or the digits that need no download.

    DIR/train/<class>/*.jpg    DIR/val/<class>/*.jpg    DIR/test/<class>/*.jpg (optional)

Other forms, by timm's names for them: readers.py.
Opening a split lists its files and reads none of them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..config import Task
from ..data_folder import DIGITS as DIGITS
from ..data_folder import check_split, held
from ..data_folder import subfolders as subfolders
from ..errors import DataError
from ..user_paths import expanded
from .digits import SPLITS, digits
from .readers import open_with_reader
from .split import Split as Split
from .split import as_rgb as as_rgb
from .split import key_of
from .split import some as some
from .subsets import chosen


def open_split(task: Task, split: str) -> Split:
    """A split by its name, or what the task chooses of it; DataError says what is missing, and
    what there is instead."""
    return chosen(_open_whole(task, split), task, training=split == task.train)


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


def data_digest(train: Split, val: Split) -> str:
    """12 hex digits of what the two splits hold, wherever they lie.

    That is class, name and size of each file; none is opened. Digits: their pixels.
    """
    content = hashlib.sha256()
    for role, split in (("train", train), ("val", val)):
        content.update(json.dumps([role, split.class_names]).encode() + split.identity())
    return content.hexdigest()[:12]


def _open_whole(task: Task, split: str) -> Split:
    if task.data == DIGITS:
        return _open_digits(split)
    opened = open_with_reader(task, split)
    if opened is not None:
        return opened
    return _open_folder(expanded(task.data), split, key_of(task, split))


def _open_digits(split: str) -> Split:
    if split not in SPLITS:
        raise DataError(f"digits have no split {split!r}; allowed: {', '.join(SPLITS)}")
    images, labels = digits(split)
    return Split(f"{DIGITS}/{split}", tuple("0123456789"), labels, images)


def _open_folder(root: Path, split: str, key: str) -> Split:
    check_split("classification", root, split, key)
    folder = root / split
    classes = subfolders(folder)
    if len(classes) < 2:
        raise DataError(
            f"{folder}: got {len(classes)} class folders ({held(folder)}), needed are two "
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
