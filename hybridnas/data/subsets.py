"""Some of the classes and some of the images of a split, the same ones every time.

Who is chosen is decided by hashes of names, so it depends neither on the order in which a disk
lists them nor on a generator of random numbers, and a smaller choice is part of a larger one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from ..config import Task
from ..errors import DataError
from .split import Split, some
from .stored import Chosen, Stored


def chosen(split: Split, task: Task, *, training: bool) -> Split:
    """What the task wants of a split: of its classes (task.classes, task.num_classes) and, of one
    to train on, at most task.per_class images of each. DataError for classes that it has not."""
    names = _class_names(split, task)
    kept = np.isin(split.labels, [split.class_names.index(name) for name in names])
    if training and task.per_class is not None:
        kept &= _first_of_each(split, [task.per_class] * len(split.class_names))
    if kept.all():
        return split
    new_label = {split.class_names.index(name): label for label, name in enumerate(names)}
    indices = np.flatnonzero(kept)
    labels = np.array([new_label[label] for label in split.labels[indices].tolist()], np.int64)
    return replace(split, class_names=names, labels=labels, sources=_taken(split, indices))


def share_of(split: Split, share: float) -> Split:
    """So much of the images of each class, rounded up."""
    if share == 1:
        return split
    numbers = [math.ceil(share * number) for number in split.counts().values()]
    indices = np.flatnonzero(_first_of_each(split, numbers))
    return replace(split, labels=split.labels[indices], sources=_taken(split, indices))


def _class_names(split: Split, task: Task) -> tuple[str, ...]:
    """In the order that the split has them."""
    if task.classes is not None:
        unknown = sorted(set(task.classes) - set(split.class_names))
        if unknown:
            raise DataError(
                f"task.classes: {split.where} has no class {some(unknown)}; it has "
                f"{some(list(split.class_names))}"
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


def _first_of_each(split: Split, numbers: Sequence[int]) -> NDArray[np.bool_]:
    """So many of each class, by label."""
    keys = [_hash(_own_name(split, index)) for index in range(len(split))]
    kept = np.zeros(len(split), dtype=bool)
    for label, number in enumerate(numbers):
        places = np.flatnonzero(split.labels == label).tolist()
        kept[sorted(places, key=lambda place: keys[place])[:number]] = True
    return kept


def _own_name(split: Split, index: int) -> str:
    """Without where the data lies, and with its class, since names may repeat from class to
    class."""
    return f"{split.class_names[split.labels[index]]}/{PurePath(split.name(index)).name}"


def _taken(split: Split, indices: NDArray[np.int64]) -> list[str] | NDArray[np.uint8] | Stored:
    sources = split.sources
    if isinstance(sources, np.ndarray):
        return sources[indices]
    if isinstance(sources, Stored):
        return Chosen(sources, indices.tolist())
    return [sources[index] for index in indices.tolist()]


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
