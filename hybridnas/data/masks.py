"""Images with a class for every pixel, in a folder laid out as ADE20K (ADEChallengeData2016) is.

    DIR/images/<split>/*.jpg    DIR/annotations/<split>/*.png    DIR/objectInfo150.txt

A split is any folder that is in both, such as training, validation and testing. An annotation has
its image's name and size, and one channel: label 0 is ignored, label k is class k - 1.

Opening a split lists its files and reads none of them, but for a set that does not name its
classes (see `class_names`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from ..config import Task
from ..data_folder import check_split, held
from ..errors import DataError
from ..user_paths import expanded
from .class_lists import listed_classes
from .images import as_rgb, some
from .split import key_of, size_and_time, size_of, why_missing

IGNORED = 255
"""The class of a pixel that neither trains nor counts."""

# Labels are bytes, and one class is IGNORED.
_MOST_CLASSES = 255


@dataclass(frozen=True, eq=False)
class MaskSplit:
    """One split: N images, each with the classes of its pixels.

    where: the folder of the images, for messages. images, annotations: N paths each.
    """

    where: str
    class_names: tuple[str, ...]
    images: Sequence[str]
    annotations: Sequence[str]

    def __len__(self) -> int:
        return len(self.images)

    def sample(self, index: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        """The image in RGB, and its classes (H, W), IGNORED where there is none.

        Raises DataError for an annotation that does not fit its image or the classes, and
        whatever its decoder raises for a file that cannot be read.
        """
        with Image.open(self.images[index]) as file:
            image = as_rgb(file)
        where = self.annotations[index]
        labels = _labels(where)
        size = (labels.shape[1], labels.shape[0])
        if size != image.size:
            raise DataError(
                f"{where} has {size[0]} x {size[1]} pixels, but its image {self.images[index]} "
                f"has {image.size[0]} x {image.size[1]}"
            )
        largest, most = int(labels.max()), len(self.class_names)
        if largest > most:
            raise DataError(
                f"{where}: found label {largest}, allowed are 0 (ignored) to {most}, the number "
                "of classes"
            )
        # A byte of 0 becomes 255, which is IGNORED.
        return image, labels.astype(np.uint8) - np.uint8(1)

    def name(self, index: int) -> str:
        return self.images[index]

    @cached_property
    def sizes(self) -> tuple[list[int | None], list[int | None]]:
        """Bytes of each image and of each annotation; None where it is not there."""
        return [size_of(path) for path in self.images], [size_of(path) for path in self.annotations]

    @cached_property
    def missing(self) -> dict[int, str]:
        """Why, of pairs of which a file is not there; reading one raises."""
        images, annotations = self.sizes
        of_masks = {
            i: f"{self.annotations[i]}: {why_missing(self.annotations[i])}"
            for i, size in enumerate(annotations)
            if size is None
        }
        of_images = {
            i: why_missing(self.images[i]) for i, size in enumerate(images) if size is None
        }
        return of_masks | of_images

    # ---- what it takes to stay decoded (resident.Kept)

    in_memory = False

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) zeros: what is known of an image is in its mask."""
        return np.zeros(len(self), dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Of the classes, and name, size and time of each file."""
        content = hashlib.sha256(json.dumps(self.class_names).encode())
        for path in (*self.images, *self.annotations):
            content.update(f"{Path(path).name}:{size_and_time(path)}\n".encode())
        return content.hexdigest()

    def read(self, index: int) -> tuple[Image.Image, NDArray[np.uint8]]:
        """`sample`."""
        return self.sample(index)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image, from the head of its file alone; raises as `sample` does."""
        with Image.open(self.images[index]) as image:
            return image.height, image.width


def open_split(task: Task, split: str) -> MaskSplit:
    """A split by its name; DataError says what is missing, and what there is instead."""
    images, annotations = _pairs(task, split)
    return MaskSplit(str(_root(task) / "images" / split), class_names(task), images, annotations)


def open_splits(task: Task) -> tuple[MaskSplit, MaskSplit]:
    """What is trained on and what is scored on."""
    return open_split(task, task.train), open_split(task, task.val)


def class_names(task: Task) -> tuple[str, ...]:
    """The names in the order of a model's outputs.

    From the set's objectInfo150.txt, objectInfo.txt or classes.txt (class_lists). Where there is
    none, the annotations of `task.train` are read once: the largest label is the number of
    classes, and their labels are their names.
    """
    root = _root(task)
    names = listed_classes(root)
    if names is None:
        largest = _largest_label(tuple(_pairs(task, task.train)[1]))
        names = tuple(str(label) for label in range(1, largest + 1))
    if not 2 <= len(names) <= _MOST_CLASSES:
        raise DataError(f"{root}: got {len(names)} classes, allowed are 2 to {_MOST_CLASSES}")
    return names


def data_digest(train: MaskSplit, val: MaskSplit) -> str:
    """12 hex digits of what the two splits hold, wherever they lie.

    That is the classes, and name and size of each file.
    """
    content = hashlib.sha256()
    for role, split in (("train", train), ("val", val)):
        content.update(json.dumps([role, split.class_names]).encode())
        for paths, sizes in zip((split.images, split.annotations), split.sizes, strict=True):
            for path, size in zip(paths, sizes, strict=True):
                content.update(f"{Path(path).name}:{size}".encode())
    return content.hexdigest()[:12]


def _root(task: Task) -> Path:
    return expanded(task.data)


def _pairs(task: Task, split: str) -> tuple[list[str], list[str]]:
    """The images of a split in the order of their names, and the annotation of each."""
    root = _root(task)
    check_split("segmentation", root, split, key_of(task, split))
    folders = root / "images" / split, root / "annotations" / split
    images = _files(folders[0], IMG_EXTENSIONS)
    if not images:
        raise DataError(
            f"{folders[0]}: no images in it; an image's name ends in one of "
            f"{', '.join(IMG_EXTENSIONS)}"
        )
    annotations = {path.stem: str(path) for path in _files(folders[1], (".png",))}
    missing = [f"{path.stem}.png" for path in images if path.stem not in annotations]
    if missing:
        raise DataError(
            f"{folders[1]}: {len(missing)} of {len(images)} annotations are missing: "
            f"{some(missing)}; it holds {held(folders[1])}"
        )
    return [str(path) for path in images], [annotations[path.stem] for path in images]


def _files(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    # Hidden files are an operating system's notes, not images.
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in endings and not path.name.startswith(".")
    )


def _labels(where: str) -> NDArray[np.integer]:
    """The labels (H, W) as they are stored; OSError names a file that cannot be read."""
    try:
        with Image.open(where) as file:
            # A palette's colours are for looking at: the labels are its indices.
            labels = np.asarray(file)
    except MemoryError:
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        raise OSError(f"{where}: {error or type(error).__name__}") from error
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        shape = " x ".join(map(str, labels.shape))
        raise DataError(
            f"{where}: an annotation is one channel of whole numbers, got {shape} of {labels.dtype}"
        )
    return labels


# Every candidate of a search asks, and the answer costs reading all annotations.
@lru_cache(maxsize=8)
def _largest_label(annotations: tuple[str, ...]) -> int:
    """0 where none can be read; a loader counts those that cannot."""
    largest = 0
    for where in annotations:
        with suppress(OSError):
            largest = max(largest, int(_labels(where).max()))
    return largest
