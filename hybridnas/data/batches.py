"""What training and scoring take of a loader, whichever it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol


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


class TrainingBatches(Batches, Protocol):
    """Augmented batches, all full, in another order each pass."""

    def sample(self, number: int) -> tuple[Any, Any] | None:
        """At most `number` images of one shape with their targets; None: none can be read.

        No pass over the data begins, and no random number is drawn from anyone.
        """

    def skip(self, passes: int, batches: int) -> None:
        """Before the first pass: leaves out what an earlier process had of the data, whole passes
        and batches of the next one. What follows is what followed there."""
