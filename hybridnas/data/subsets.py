"""Some of the classes and some of the images of a split, the same ones every time.

Who is chosen is decided by hashes of names, so a smaller choice is part of a larger one
(Split.of_each_class).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from ..config import Task
from ..errors import DataError, meant
from .split import Split, some


def chosen(split: Split, task: Task, *, training: bool) -> Split:
    """What the task wants of a split: of its classes (task.classes, task.num_classes) and, of one
    to train on, at most task.per_class images of each. DataError for classes that it has not."""
    names = _class_names(split, task)
    if names != split.class_names:
        new_label = {split.class_names.index(name): label for label, name in enumerate(names)}
        kept = np.flatnonzero(np.isin(split.labels, list(new_label))).tolist()
        split = split.take(kept)
        labels = np.array([new_label[label] for label in split.labels.tolist()], np.int64)
        split = replace(split, class_names=names, labels=labels)
    most = task.per_class
    if training and most is not None and max(split.counts().values()) > most:
        split = split.of_each_class(lambda number: min(number, most))
    return split


def _class_names(split: Split, task: Task) -> tuple[str, ...]:
    """In the order that the split has them."""
    if task.classes is not None:
        unknown = sorted(set(task.classes) - set(split.class_names))
        if unknown:
            raise DataError(
                f"task.classes: {split.where} has no class {some(unknown)}"
                f"{meant(unknown[0], split.class_names)}; it has {some(list(split.class_names))}"
            )
        return tuple(name for name in split.class_names if name in task.classes)
    if task.num_classes is None:
        return split.class_names
    if task.num_classes > len(split.class_names):
        raise DataError(
            f"task.num_classes: {split.where} has {len(split.class_names)} classes, got "
            f"{task.num_classes}"
        )
    first = sorted(split.class_names, key=_hash)[: task.num_classes]
    return tuple(name for name in split.class_names if name in first)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
