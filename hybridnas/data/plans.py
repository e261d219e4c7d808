"""Batches that are planned in one process and made in this or in others.

A plan holds a seed, and all that making its batch draws starts there, so what a batch holds does
not depend on how many processes there are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..processes import Share

T = TypeVar("T")


class Plans(Sampler[T]):
    """The batches of a pass; each pass over it plans the next one, or the one that was sought.

    Every process plans the batches of all, which are dealt out in turn, and takes its own.
    """

    def __init__(self, seed: int, share: Share) -> None:
        self._seed = seed
        self._share = share
        self._random = torch.Generator().manual_seed(seed)
        self._number, self._first = 1, 0

    def draw(self, random: torch.Generator) -> list[T]:
        """The plans of the next pass of all processes, in order."""
        raise NotImplementedError

    def seek(self, number: int, first: int) -> None:
        """The next pass will be this one, counted from 1, from this process's plan `first` on."""
        if number < self._number:
            self._random.manual_seed(self._seed)
            self._number = 1
        while self._number < number:
            self.draw(self._random)
            self._number += 1
        self._first = first

    def __iter__(self) -> Iterator[T]:
        # A generator: with processes DataLoader asks for an iterator twice and uses one.
        mine = self.draw(self._random)[self._share.rank :: self._share.num_ranks]
        first = self._first
        self._number, self._first = self._number + 1, 0
        yield from mine[first:]


def planned(
    batches: Dataset[T],
    plans: Sampler[Any],
    device: torch.device,
    loader_workers: int,
    *,
    keep: bool,
) -> DataLoader[T]:
    """Makes the batches that are planned, in so many processes (0: this one).

    keep: the processes stay for the next pass.
    """
    return DataLoader(
        batches,
        batch_size=None,  # an item is a batch
        sampler=plans,
        num_workers=loader_workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        persistent_workers=keep and loader_workers > 0,
        multiprocessing_context="fork" if loader_workers else None,
        # Of its own, so that the model's random numbers stay what they are without workers.
        generator=torch.Generator(),
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """All that augmentation draws from starts at `seed`, and afterwards is where it was."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reach the GPU's, too
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _as_it_is(batch: Any) -> Any:
    return batch
