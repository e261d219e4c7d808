"""What training and scoring take of a loader, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor


class Batches(Protocol):
    """Images and their targets, batch by batch, on the device where they are used.

    Images are (B, 3, H, W) or, where sizes differ (detection), a list of (3, H, W); targets are the
    task's.

    where: the place of the data, for messages. batch_size: of all batches but perhaps the last.
    unreadable: index of each image found unreadable so far, and why. len: batches of a pass.
    """

    @property
    def where(self) -> str: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def unreadable(self) -> Mapping[int, str]: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Any, Any]]: ...

    def check(self, number: int) -> None:
        """Reads at most so many images from all over the split, one by one; DataError as iterating
        raises it. No pass over the data begins, and nothing is counted."""


Placement = Literal["device", "host", "stream"]


class TrainingBatches(Batches, Protocol):
    """Augmented batches, all full, in another order each epoch.

    Iterating gives the next epoch each time, the first one first. placement: where the images lie
    decoded, or that they are read each time (`stream`).
    """

    @property
    def placement(self) -> Placement: ...

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Any, Any]]:
        """The batches of epoch `number`, counted from 1, from batch `first` on, counted from 0:
        the same ones, whatever was asked for before."""

    def sample(self, number: int) -> tuple[Any, Any] | None:
        """At most `number` images of one shape with their targets; None: none can be read.

        No pass over the data begins, and no random number is drawn from anyone.
        """


@runtime_checkable
class DeviceBatches(TrainingBatches, Protocol):
    """Batches that are made on the device, so that a CUDA graph can record how.

    An epoch is `begin` once, then for each batch `fetch` and `make`; then, if one likes,
    `look_ahead`.
    """

    def begin(self, number: int, first: int = 0) -> None:
        """Draws all of epoch `number`, to go on with its batch `first`."""

    def look_ahead(self, number: int) -> None:
        """Draws epoch `number` while the device is busy, for when it begins."""

    def fetch(self) -> None:
        """What the host does for the next batch: nothing, if the images lie on the device."""

    def make(self) -> tuple[Tensor, Tensor]:
        """The next batch, by a fixed sequence of device operations on fixed memory."""
