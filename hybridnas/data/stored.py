"""Images that lie in other things than files of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from PIL import Image


class Stored(ABC):
    """N images, read one by one from wherever they lie, by any process or thread."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Image.Image:
        """In its own mode; raises whatever a decoder raises for one that cannot be read."""

    @abstractmethod
    def name(self, index: int) -> str:
        """For messages, and for choosing some of them."""

    @abstractmethod
    def identity(self, index: int) -> str:
        """What the digest of the data knows it by: its name and size, wherever it lies."""

    @abstractmethod
    def changed(self, index: int) -> int:
        """When the file that it lies in was written, in nanoseconds; 0 where `identity` tells its
        pixels."""


class Chosen(Stored):
    """Some of them, in the order of `indices`."""

    def __init__(self, images: Stored, indices: Sequence[int]) -> None:
        self._images, self._indices = images, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Image.Image:
        return self._images[self._indices[index]]

    def name(self, index: int) -> str:
        return self._images.name(self._indices[index])

    def identity(self, index: int) -> str:
        return self._images.identity(self._indices[index])

    def changed(self, index: int) -> int:
        return self._images.changed(self._indices[index])
