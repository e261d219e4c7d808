"""Batches of images and targets on a device, read and augmented in this process or in others.

A batch is planned here (which images, which seed) and made wherever there is a process for it, so
what it holds depends on the loader's seed only, not on how many processes there are. Images travel
as bytes in one tensor and are normalised on the device, which halves the work per image.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DataError
from ..processes import ALONE, Share
from .batches import Placement
from .plans import Plans, planned, seeded

MEAN: tuple[float, float, float] = IMAGENET_DEFAULT_MEAN
STD: tuple[float, float, float] = IMAGENET_DEFAULT_STD

# What a source's sample holds, to an image (3, H, W) uint8 and its target, a tensor.
Transform = Callable[[Any, Any], tuple[Tensor, Tensor]]
# Images and targets of a batch on the device, to images and targets.
Finish = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Named(Protocol):
    """Images that messages can name. where: their place. name: of one of them."""

    @property
    def where(self) -> str: ...

    def __len__(self) -> int: ...

    def name(self, index: int) -> str: ...


class Source(Named, Protocol):
    """What a loader reads, such as images.Split and masks.MaskSplit.

    sample: an image and its target; raises whatever a decoder raises for a file that cannot be
    read, and DataError for data that is wrong.
    """

    def sample(self, index: int) -> tuple[Any, Any]: ...


class ImageLoader:
    """Iterates over a source: images (B, 3, H, W) float32, normalised, and targets (B, ...).

    Of a batch of differing shapes each run of equal ones comes by itself, as a smaller batch.

    split: what is read. transform: what it holds, to an image in bytes and a target.
    batch_size: of this process; a split with fewer images is one batch.
    shuffle: for training: another order each time, only full batches, the next readable image in
        the place of one that cannot be read. Else in order, all, unreadable ones left out.
    seed: of order and augmentation.
    max_corrupt: the share of the split that may be unreadable; more is a DataError while iterating.
    loader_workers: processes that read images; 0: this one.
    finish: what is done last, with images and labels on the device (erasing, mixing).
    share: which batches are this process's.
    """

    def __init__(
        self,
        split: Source,
        transform: Transform,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        max_corrupt: float,
        device: torch.device,
        loader_workers: int,
        finish: Finish | None = None,
        share: Share = ALONE,
    ) -> None:
        self.split = split
        self.batch_size = min(batch_size, len(split))
        self.unreadable: dict[int, str] = {}  # index of each image found unreadable, and why
        self._max_corrupt = max_corrupt
        self._limit = int(max_corrupt * len(split))
        self._device = device
        self._finish = finish
        self._mean = 255 * torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(STD, device=device).view(1, 3, 1, 1)
        self._plans = _Plans(len(split), self.batch_size, shuffle=shuffle, seed=seed, share=share)
        batches = _Batches(split, transform, replace=shuffle, limit=self._limit)
        self._batches = planned(batches, self._plans, device, loader_workers, keep=shuffle)

    placement: Placement = "stream"

    @property
    def where(self) -> str:
        return self.split.where

    def __len__(self) -> int:
        """Batches of one pass, before any is split into runs of equal shapes."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._batches:
            if batch.error:
                raise DataError(batch.error)
            self._count(batch.unreadable)
            for run in batch.runs:
                images, targets = self._on_device(run)
                yield self._finish(images, targets) if self._finish else (images, targets)

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of pass `number`, counted from 1, from batch `first` on, counted from 0."""
        self._plans.seek(number, first)
        return iter(self)

    def sample(self, number: int) -> tuple[Tensor, Tensor] | None:
        """At most `number` images of one shape from all over the split with their targets, as
        iterating gives them before `finish`; None: none can be read. No pass over the data
        begins, and no random number is drawn."""
        places = range(0, len(self.split), max(1, len(self.split) // number))
        batch = self._batches.dataset[_Plan([*places][:number], 0)]
        if batch.error:
            raise DataError(batch.error)
        return self._on_device(batch.runs[0]) if batch.runs else None

    def check(self, number: int) -> None:
        """See `Batches`."""
        found = dict(self.unreadable)
        for index in spread(len(self.split), number):
            batch = self._batches.dataset[_Plan([index], 0)]
            if batch.error:
                raise DataError(batch.error)
            found |= batch.unreadable
        check_readable(self.split, found, self._max_corrupt)

    def _on_device(self, run: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, targets = (x.to(self._device, non_blocking=True) for x in run)
        return images.float().sub_(self._mean).div_(self._std), targets

    def _count(self, unreadable: dict[int, str]) -> None:
        self.unreadable |= unreadable
        check_readable(self.split, self.unreadable, self._max_corrupt)


def spread(length: int, number: int) -> range:
    """At most so many places from all over a split, evenly."""
    return range(0, length, -(-length // number))


def check_readable(
    split: Named, unreadable: Mapping[int, str], max_corrupt: float, used: int | None = None
) -> None:
    """DataError if more images than the share max_corrupt, or all, were found unreadable so far.

    unreadable: why, by index. used: how many images of the split count; None: all.
    """
    found, num = len(unreadable), len(split) if used is None else used
    limit = int(max_corrupt * num)
    if found <= limit and found < num:
        return
    examples = [f"{split.name(i)} ({why})" for i, why in unreadable.items()][:3]
    raise DataError(
        f"{split.where}: {found} or more of {num} images cannot be read, allowed are "
        f"{min(limit, num - 1)} (task.max_corrupt: {max_corrupt:g}); among them "
        f"{', '.join(examples)}"
    )


class _Plan(NamedTuple):
    indices: list[int]
    seed: int


class _Batch(NamedTuple):
    # Of each run of equal shapes: images (B, 3, H, W) uint8, channels last in memory, and targets.
    runs: list[tuple[Tensor, Tensor]]
    unreadable: dict[int, str]
    # Why the data is wrong. Raised in a loader's process it would arrive with that one's traceback.
    error: str = ""


class _Plans(Plans[_Plan]):
    def __init__(
        self, num_images: int, batch_size: int, *, shuffle: bool, seed: int, share: Share
    ) -> None:
        super().__init__(seed, share)
        self._num_images = num_images
        self._batch_size = batch_size
        self._shuffle = shuffle

    def __len__(self) -> int:
        return len(range(self._share.rank, self._num_batches(), self._share.num_ranks))

    def draw(self, random: torch.Generator) -> list[_Plan]:
        order = (
            torch.randperm(self._num_images, generator=random)
            if self._shuffle
            else torch.arange(self._num_images)
        ).tolist()
        # One seed a step, whatever the number of processes: the next order is the same, too.
        num_ranks, size = self._share.num_ranks, self._batch_size
        steps = -(-self._num_batches() // num_ranks)
        seeds = torch.randint(2**31, (steps,), generator=random).tolist()
        return [
            _Plan(
                order[number * size : (number + 1) * size],
                (seeds[number // num_ranks] + number % num_ranks) % 2**31,
            )
            for number in range(self._num_batches())
        ]

    def _num_batches(self) -> int:
        """Of all processes: full ones to train on, as many for each; all to score on."""
        whole, rest = divmod(self._num_images, self._batch_size)
        if self._shuffle:
            return whole - whole % self._share.num_ranks
        return whole + bool(rest)


class _Batches(Dataset[_Batch]):
    """Makes the batch that a plan says."""

    def __init__(self, split: Source, transform: Transform, *, replace: bool, limit: int) -> None:
        self._split = split
        self._transform = transform
        self._replace = replace
        self._limit = limit

    def __getitem__(self, plan: _Plan) -> _Batch:
        unreadable: dict[int, str] = {}
        try:
            with seeded(plan.seed):
                read = [self._read(index, unreadable) for index in plan.indices]
        except DataError as error:
            return _Batch([], unreadable, str(error))
        good = [sample for sample in read if sample is not None]
        runs = [_stack(list(run)) for _, run in itertools.groupby(good, key=_shapes)]
        return _Batch(runs, unreadable)

    def _read(self, index: int, unreadable: dict[int, str]) -> tuple[Tensor, Tensor] | None:
        """The image and its target, or the next readable one's; None: there is none to give."""
        for _ in range(len(self._split)):
            if index not in unreadable:
                try:
                    image, target = self._split.sample(index)
                except (MemoryError, DataError):
                    raise
                except Exception as error:  # decoders of broken files raise nearly anything
                    unreadable[index] = str(error) or type(error).__name__
                else:
                    return self._transform(image, target)
            if not self._replace or len(unreadable) > self._limit:
                return None
            index = (index + 1) % len(self._split)
        return None


def _shapes(sample: tuple[Tensor, Tensor]) -> tuple[torch.Size, torch.Size]:
    image, target = sample
    return image.shape, target.shape


def _stack(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, targets = zip(*samples, strict=True)
    # Channels last without a pass of its own: each image is copied once, into its place.
    stacked = torch.empty(
        (len(images), *images[0].shape), dtype=torch.uint8, memory_format=torch.channels_last
    )
    return torch.stack(images, out=stacked), torch.stack(targets)
