"""The splits of a protocol, whose files are listed once in a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, TypeVar
from typing import Protocol as Interface

from ..config import Protocol, Task
from ..data.loader import Named, check_readable


class HasMissing(Named, Interface):
    """missing: why, of images that are listed and are not there."""

    @property
    def missing(self) -> Mapping[int, str]: ...


_S = TypeVar("_S")
_F = TypeVar("_F", bound=HasMissing)


def listed(protocol: Protocol, open_splits: Callable[[Task], _S]) -> _S:
    """What `open_splits` lists of the protocol's task; where the protocol says what its data holds,
    by the first to ask for it.

    Every candidate of a search asks, and of 20,000 images with masks it takes a second and a half.
    """
    if not protocol.data_digest:
        return open_splits(protocol.task)
    kept: _S = _listed(open_splits, protocol.task, protocol.data_digest)
    return kept


@lru_cache(maxsize=4)
def _listed(open_splits: Callable[[Task], Any], task: Task, data_digest: str) -> Any:
    return open_splits(task)


def all_there(open_splits: Callable[[Task], tuple[_F, _F]]) -> Callable[[Task], tuple[_F, _F]]:
    """`open_splits` that raises DataError where more images than task.max_corrupt are missing."""

    def opened(task: Task) -> tuple[_F, _F]:
        splits = open_splits(task)
        for split in splits:
            check_readable(split, split.missing, task.max_corrupt)
        return splits

    return opened
