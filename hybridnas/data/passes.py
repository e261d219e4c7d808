"""Passes over data, batch after batch, that can begin where an earlier process stopped."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import TypeVar

from torch.utils.data import Sampler

from ..processes import Share

PlanT = TypeVar("PlanT")


class Passes(Sampler[PlanT]):
    """Plans one pass, and with every iteration the next. The batches of all processes are planned
    in each of them, and dealt out in turn."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._first = 0

    @abstractmethod
    def next_pass(self) -> Sequence[PlanT]:
        """The batches of all processes, drawn from the sampler's own random numbers."""

    def skip(self, passes: int, batches: int) -> None:
        """Leaves out whole passes, and of the next one this process's first batches: what follows
        is what would have followed them. Of a sampler that was not iterated over yet."""
        for _ in range(passes):
            self.next_pass()
        self._first = batches

    def __iter__(self) -> Iterator[PlanT]:
        first, self._first = self._first, 0
        mine = self.next_pass()[self._share.rank :: self._share.num_ranks]
        yield from mine[first:]
