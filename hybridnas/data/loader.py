"""Batches of images on a device, read and augmented in this process or in others.

A batch is planned here (which images, which seed) and made wherever there is a process for it, so
what it holds depends on the loader's seed only, not on how many processes there are. Images travel
as bytes in one tensor and are normalised on the device, which halves the work per image.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import DataError
from .images import Split

MEAN: tuple[float, float, float] = IMAGENET_DEFAULT_MEAN
STD: tuple[float, float, float] = IMAGENET_DEFAULT_STD

# A PIL image to a (3, R, R) uint8 tensor.
Transform = Callable[[Image.Image], Tensor]
# Images and labels of a batch on the device, to images and targets.
Finish = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class ImageLoader:
    """Iterates over a split: images (B, 3, R, R) float32, normalised, and labels (B,) int64.

    split: what is read. transform: PIL image to a (3, R, R) uint8 tensor.
    batch_size: a split with fewer images is one batch.
    shuffle: for training: another order each time, only full batches, the next readable image in
        the place of one that cannot be read. Else in order, all, unreadable ones left out.
    seed: of order and augmentation.
    max_corrupt: the share of the split that may be unreadable; more is a DataError while iterating.
    loader_workers: processes that read images; 0: this one.
    finish: what is done last, with images and labels on the device (erasing, mixing).
    """

    def __init__(
        self,
        split: Split,
        transform: Transform,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        max_corrupt: float,
        device: torch.device,
        loader_workers: int,
        finish: Finish | None = None,
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
        plans = _Plans(len(split), self.batch_size, shuffle=shuffle, seed=seed)
        self._batches = DataLoader(
            _Batches(split, transform, replace=shuffle, limit=self._limit),
            batch_size=None,  # an item is a batch
            sampler=plans,
            num_workers=loader_workers,
            collate_fn=_as_it_is,
            pin_memory=device.type == "cuda",
            persistent_workers=shuffle and loader_workers > 0,
            multiprocessing_context="fork" if loader_workers else None,
            # Of its own, so that the model's random numbers stay what they are without workers.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Batches of one pass."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in self._batches:
            self._count(batch.unreadable)
            if not len(batch.labels):
                continue
            images = batch.images.to(self._device, non_blocking=True)
            images = images.float().sub_(self._mean).div_(self._std)
            labels = batch.labels.to(self._device, non_blocking=True)
            yield self._finish(images, labels) if self._finish else (images, labels)

    def _count(self, unreadable: dict[int, str]) -> None:
        self.unreadable |= unreadable
        check_readable(self.split, self.unreadable, self._max_corrupt)


def check_readable(split: Split, unreadable: Mapping[int, str], max_corrupt: float) -> None:
    """DataError if more images than the share max_corrupt, or all, were found unreadable so far.

    unreadable: why, by index.
    """
    found, num, limit = len(unreadable), len(split), int(max_corrupt * len(split))
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
    images: Tensor  # (B, 3, R, R) uint8, channels last in memory
    labels: Tensor  # (B,) int64
    unreadable: dict[int, str]


class _Plans(Sampler[_Plan]):
    """The batches of a pass; each pass over it plans the next one."""

    def __init__(self, num_images: int, batch_size: int, *, shuffle: bool, seed: int) -> None:
        self._num_images = num_images
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._random = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        whole, rest = divmod(self._num_images, self._batch_size)
        return whole if self._shuffle else whole + bool(rest)

    def __iter__(self) -> Iterator[_Plan]:
        order = (
            torch.randperm(self._num_images, generator=self._random)
            if self._shuffle
            else torch.arange(self._num_images)
        ).tolist()
        seeds = torch.randint(2**31, (len(self),), generator=self._random).tolist()
        for number, seed in enumerate(seeds):
            start = number * self._batch_size
            yield _Plan(order[start : start + self._batch_size], seed)


class _Batches(Dataset[_Batch]):
    """Makes the batch that a plan says."""

    def __init__(self, split: Split, transform: Transform, *, replace: bool, limit: int) -> None:
        self._split = split
        self._transform = transform
        self._replace = replace
        self._limit = limit

    def __getitem__(self, plan: _Plan) -> _Batch:
        unreadable: dict[int, str] = {}
        with _seeded(plan.seed):
            read = [self._read(index, unreadable) for index in plan.indices]
        good = [pair for pair in read if pair is not None]
        labels = torch.tensor([label for _, label in good], dtype=torch.int64)
        if not good:
            return _Batch(torch.empty(0, dtype=torch.uint8), labels, unreadable)
        images = torch.empty(
            (len(good), *good[0][0].shape), dtype=torch.uint8, memory_format=torch.channels_last
        )
        for place, (image, _) in zip(images, good, strict=True):
            place.copy_(image)
        return _Batch(images, labels, unreadable)

    def _read(self, index: int, unreadable: dict[int, str]) -> tuple[Tensor, int] | None:
        """The image and its label, or the next readable one's; None: there is none to give."""
        for _ in range(len(self._split)):
            if index not in unreadable:
                try:
                    image = self._split.read(index)
                except MemoryError:
                    raise
                except Exception as error:  # decoders of broken files raise nearly anything
                    unreadable[index] = str(error) or type(error).__name__
                else:
                    return self._transform(image), int(self._split.labels[index])
            if not self._replace or len(unreadable) > self._limit:
                return None
            index = (index + 1) % len(self._split)
        return None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
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
