"""One split of labelled images, wherever they lie."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..config import Task
from ..data_folder import some as some
from .stored import Chosen, Stored


@dataclass(frozen=True, eq=False)
class Split:
    """One split: N images, each of one class.

    where: the folder, for messages.
    labels: (N,) int64, positions in class_names.
    sources: N paths, the images themselves as (N, H, W) uint8 in grey, or what they lie in.
    """

    where: str
    class_names: tuple[str, ...]
    labels: NDArray[np.int64]
    sources: Sequence[str] | NDArray[np.uint8] | Stored

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """Of each file's name, size and time, or of the pixels, and of classes and labels.

        Times, in an archive its own, count because a picture that was replaced may have the old
        one's size.
        """
        content = hashlib.sha256(json.dumps(self.class_names).encode() + self.labels.tobytes())
        if isinstance(self.sources, np.ndarray):
            content.update(repr(self.sources.shape).encode() + self.sources.tobytes())
        elif isinstance(self.sources, Stored):
            times = [self.sources.changed(index) for index in range(len(self))]
            content.update(f"{self.where}\n{times}\n".encode() + self.identity())
        else:
            for source in self.sources:
                name = os.path.relpath(source, self.where)
                content.update(f"{name}:{size_and_time(source)}\n".encode())
        return content.hexdigest()

    @cached_property
    def missing(self) -> dict[int, str]:
        """Why, of images that are not there, as behind a link that leads nowhere; reading one
        raises."""
        return {i: why_missing(self.name(i)) for i, size in enumerate(self._sizes) if size is None}

    @property
    def in_memory(self) -> bool:
        return isinstance(self.sources, np.ndarray)

    def read(self, index: int) -> Image.Image:
        """The image in RGB; raises whatever its decoder raises when it cannot be read."""
        source = self.sources[index]
        if isinstance(source, np.ndarray):
            return Image.fromarray(source).convert("RGB")
        with source if isinstance(source, Image.Image) else Image.open(source) as image:
            return as_rgb(image)

    def sample(self, index: int) -> tuple[Image.Image, int]:
        """What a loader asks for: the image and its label."""
        return self.read(index), int(self.labels[index])

    def size(self, index: int) -> tuple[int, int]:
        """(height, width), from the head of the file alone; raises as `read` does."""
        source = self.sources[index]
        if isinstance(source, np.ndarray):
            return source.shape[0], source.shape[1]
        with source if isinstance(source, Image.Image) else Image.open(source) as image:
            return image.height, image.width

    def name(self, index: int) -> str:
        if isinstance(self.sources, Stored):
            return self.sources.name(index)
        source = self.sources[index]
        return source if isinstance(source, str) else f"{self.where}[{index}]"

    def identity(self) -> bytes:
        """What the digest of the data knows the images by, wherever they lie: their pixels, or
        class, name and size of each; none is opened."""
        if isinstance(self.sources, np.ndarray):
            return self.sources.tobytes() + self.labels.tobytes()
        if isinstance(self.sources, Stored):
            own = [self.sources.identity(index) for index in range(len(self))]
        else:
            files = map(Path, self.sources)
            found = zip(files, self._sizes, strict=True)
            own = [f"{file.relative_to(self.where)}:{size}" for file, size in found]
        named = zip(own, self.labels.tolist(), strict=True)
        return "".join(f"{label}/{name}" for name, label in named).encode()

    def part(self, share: float) -> Split:
        """So much of each class, rounded up, in the split's order; always the same images, and
        those of a smaller share are among those of a larger one."""
        return self if share == 1 else self.of_each_class(partial(_part_of, share))

    def size_of_part(self, share: float) -> int:
        """How many images `part` takes."""
        return sum(_part_of(share, number) for number in self.counts().values())

    def of_each_class(self, how_many: Callable[[int], int]) -> Split:
        """Of each class as many images as `how_many` makes of their number, as `part` takes them.

        Hashes of names decide, so neither the order in which a disk lists them does, nor where
        they lie.
        """
        ranks = [hashlib.sha256(self._key(i).encode()).digest() for i in range(len(self))]
        kept: list[int] = []
        for label in range(len(self.class_names)):
            members = sorted(np.flatnonzero(self.labels == label).tolist(), key=ranks.__getitem__)
            kept += members[: how_many(len(members))]
        return self.take(sorted(kept))

    def take(self, indices: list[int]) -> Split:
        """These images alone, in this order."""
        sources: Sequence[str] | NDArray[np.uint8] | Stored
        if isinstance(self.sources, np.ndarray):
            sources = self.sources[indices]
        elif isinstance(self.sources, Stored):
            sources = Chosen(self.sources, indices)
        else:
            sources = [self.sources[index] for index in indices]
        return Split(self.where, self.class_names, self.labels[indices], sources)

    @cached_property
    def _sizes(self) -> list[int | None]:
        """Bytes of each file; none where images lie in something else."""
        if isinstance(self.sources, (np.ndarray, Stored)):
            return []
        return [size_of(source) for source in self.sources]

    def _key(self, index: int) -> str:
        """Of an image, wherever the data lies."""
        if isinstance(self.sources, np.ndarray):
            return str(index)
        return Path(self.name(index)).name

    def counts(self) -> dict[str, int]:
        """The number of images of each class."""
        numbers = np.bincount(self.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, numbers.tolist(), strict=True))


def _part_of(share: float, number: int) -> int:
    return math.ceil(share * number)


def size_of(path: str) -> int | None:
    """Bytes of a file; None where there is none, as where a link leads nowhere."""
    try:
        return os.stat(path).st_size
    except OSError:  # reading it says why
        return None


def size_and_time(path: str) -> str:
    """Of a file; a picture that was replaced may have the old one's size."""
    try:
        stat = os.stat(path)
    except OSError:
        return ""
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def why_missing(path: str) -> str:
    """Of a file that is listed, and is not there."""
    if os.path.islink(path):
        return f"leads to {os.readlink(path)}, which is not there"
    return "no such file"


def as_rgb(image: Image.Image) -> Image.Image:
    """Any picture in RGB; raises whatever its decoder raises when it cannot be read."""
    if image.mode.startswith("I;16"):
        # Pillow would cut 16 bits off at 255, which leaves a white image.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns
    return image.convert("RGB")


def key_of(task: Task, split: str) -> str:
    """Of the setting that names a split; nothing of one that is scored alone, named elsewhere."""
    if task.train == task.val:
        return ""
    return {task.train: "task.train", task.val: "task.val"}.get(split, "")
