"""Pictures of any size decoded once, in threads, into one array of bytes.

Pillow and libjpeg release Python's lock while they decode, so threads are enough, and nothing has
to cross a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data.transforms_factory import create_transform
from torch import Tensor

from ..errors import DataError

_CHUNK = 64
_MOST_THREADS = 16

# Told how many pictures are done, of how many.
Progress = Callable[[int, int], None]
# Told what an array of all pictures takes, in bytes, and the pictures themselves; raises where that
# is too much.
Room = Callable[[int, float], None]
# Told of the pictures that could not be read so far, and why; raises when there are too many.
Check = Callable[[dict[int, str]], None]
_T = TypeVar("_T")


class Pictures(Protocol):
    """What can be decoded: a Split's images, or a MaskSplit's with their masks.

    read: what a Form takes. Raises DataError for what is wrong, and whatever a decoder raises for
    what cannot be read; `size`, (height, width), is of the head alone.
    """

    def __len__(self) -> int: ...

    def size(self, index: int) -> tuple[int, int]: ...

    def read(self, index: int) -> Any: ...


class Form(Protocol):
    """What is stored of a picture. name: two forms of one name store the same bytes."""

    @property
    def name(self) -> str: ...

    @property
    def channels(self) -> int: ...

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """What a picture of that size takes."""

    def __call__(self, picture: Any, /) -> NDArray[np.uint8]:
        """(channels, h, w) of that shape."""


@dataclass(frozen=True)
class Whole:
    """All of a picture; each axis longer than `side` is shrunk to it, by itself.

    So no part of a picture is lost and none of the memory is padding, and a crop drawn on the true
    size (which is kept beside) covers just what it would cover in the original; it is resampled
    from fewer pixels where an axis was shrunk. labels: a label map, shrunk to the nearest label.
    """

    side: int
    labels: bool = False

    @property
    def name(self) -> str:
        return f"{'labels' if self.labels else 'whole'}-{self.side}"

    @property
    def channels(self) -> int:
        return 1 if self.labels else 3

    def shape(self, height: int, width: int) -> tuple[int, int]:
        return min(height, self.side), min(width, self.side)

    def __call__(self, image: Image.Image, /) -> NDArray[np.uint8]:
        height, width = self.shape(image.height, image.width)
        if (height, width) != (image.height, image.width):
            by = Image.Resampling.NEAREST if self.labels else Image.Resampling.BICUBIC
            image = image.resize((width, height), by)
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels[None] if self.labels else pixels.transpose(2, 0, 1)


@dataclass(frozen=True)
class WholePair:
    """An image and its mask, both `Whole`: three channels, then the classes."""

    side: int

    @property
    def name(self) -> str:
        return f"pair-{self.side}"

    @property
    def channels(self) -> int:
        return 4

    def shape(self, height: int, width: int) -> tuple[int, int]:
        return Whole(self.side).shape(height, width)

    def __call__(self, pair: tuple[Image.Image, NDArray[np.uint8]], /) -> NDArray[np.uint8]:
        image, classes = pair
        mask = Whole(self.side, labels=True)(Image.fromarray(classes))
        return np.concatenate([Whole(self.side)(image), mask])


@dataclass(frozen=True)
class Scored:
    """timm's view of a picture for validation: resized, central crop, to `resolution` pixels."""

    resolution: int
    crop_pct: float = 1.0
    interpolation: str = "bicubic"

    @property
    def name(self) -> str:
        return f"scored-{self.resolution}-{self.crop_pct:g}-{self.interpolation}"

    @property
    def channels(self) -> int:
        return 3

    def shape(self, height: int, width: int) -> tuple[int, int]:
        return self.resolution, self.resolution

    def __call__(self, image: Image.Image, /) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = _scoring_transform(self)(image).numpy()
        return pixels


@cache
def _scoring_transform(form: Scored) -> Callable[[Image.Image], Tensor]:
    transform: Callable[[Image.Image], Tensor] = create_transform(
        form.resolution,
        crop_pct=form.crop_pct,
        interpolation=form.interpolation,
        use_prefetcher=True,  # bytes, not floats
    )
    return transform


@dataclass(frozen=True, eq=False)
class Decoded:
    """N pictures in one array; one smaller than the largest lies in its upper left corner.

    pixels: (N, C, H, W) uint8. sizes: (N, 2) int32, heights and widths of the pictures themselves.
    unreadable: why, by index; such a picture is black.
    """

    pixels: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    unreadable: dict[int, str]


def decode(
    pictures: Pictures,
    form: Form,
    check: Check,
    on_progress: Progress | None = None,
    check_room: Room | None = None,
) -> Decoded:
    """Reads every picture once, first the heads of all files to know the largest.

    Raises what `check` raises, as soon as it does, what `check_room` raises, before there is an
    array, and DataError for a picture that is wrong.
    """
    num = len(pictures)
    sizes = np.zeros((num, 2), dtype=np.int32)
    unreadable: dict[int, str] = {}
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        try:
            for chunk in pool.map(_heads(pictures), _chunks(num)):
                for index, size in chunk:
                    if isinstance(size, str):
                        unreadable[index] = size
                    else:
                        sizes[index] = size
                check(unreadable)
            shapes = [form.shape(*size) for size in sizes[sizes[:, 0] > 0].tolist()]
            height, width = (max(axis) for axis in zip(*shapes, strict=True))
            if check_room is not None:
                own = sum(h * w for h, w in shapes)
                check_room(num * form.channels * height * width, form.channels * own)
            pixels = np.zeros((num, form.channels, height, width), dtype=np.uint8)
            good = [index for index in range(num) if index not in unreadable]
            done = 0
            for part in pool.map(_bodies(pictures, form, pixels), _parts(good)):
                unreadable |= part.failed
                check(unreadable)
                done += part.num
                if on_progress is not None:
                    on_progress(done, len(good))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return Decoded(pixels, sizes, dict(sorted(unreadable.items())))


@dataclass(frozen=True)
class _Part:
    num: int
    failed: dict[int, str]


def _attempt(function: Callable[[], _T]) -> _T | str:
    """What the function gives, or why it cannot."""
    try:
        return function()
    except (MemoryError, DataError):
        raise
    except Exception as error:  # decoders of broken files raise nearly anything
        return str(error) or type(error).__name__


def _heads(
    pictures: Pictures,
) -> Callable[[Iterable[int]], list[tuple[int, tuple[int, int] | str]]]:
    def read(indices: Iterable[int]) -> list[tuple[int, tuple[int, int] | str]]:
        return [(i, _attempt(partial(pictures.size, i))) for i in indices]

    return read


def _bodies(
    pictures: Pictures, form: Form, pixels: NDArray[np.uint8]
) -> Callable[[list[int]], _Part]:
    def store(index: int) -> None:
        found = form(pictures.read(index))
        pixels[index, :, : found.shape[1], : found.shape[2]] = found

    def read(indices: list[int]) -> _Part:
        told = {i: _attempt(partial(store, i)) for i in indices}
        return _Part(len(indices), {i: why for i, why in told.items() if why is not None})

    return read


def _chunks(num: int) -> list[range]:
    return [range(start, min(start + _CHUNK, num)) for start in range(0, num, _CHUNK)]


def _parts(indices: list[int]) -> list[list[int]]:
    return [indices[chunk.start : chunk.stop] for chunk in _chunks(len(indices))]
