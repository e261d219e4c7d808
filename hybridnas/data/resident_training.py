"""Training batches of a split that stays decoded: chosen and augmented on the device.

An epoch's order and all that augmentation draws are decided when it begins, from (seed, epoch)
alone, and lie in memory that stays where it is. So a CUDA graph can record how a batch is made, and
any epoch can be begun at any batch. Only the noise of erased pixels is drawn as batches are made,
from the device's own generator, which a graph knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import torch
from torch import Tensor

from .augment.plan import Augment, Drawn
from .batches import Placement
from .order import epoch_order, epoch_seed
from .resident import Batch, ResidentImages

# Of what augmentation draws; the order of an epoch has its own numbers.
_AUGMENTATION = 1


_D = TypeVar("_D", bound=Drawn)


class ResidentBatches(Generic[_D]):
    """Full batches of a resident split (data.batches.DeviceBatches).

    The next readable image stands in for one that could not be read. batch_size: at most all.
    """

    def __init__(
        self, images: ResidentImages, augment: Augment[_D], *, batch_size: int, seed: int
    ) -> None:
        self.where = images.where
        self.placement: Placement = "device" if images.on_device else "host"
        self.unreadable = images.unreadable
        self.batch_size = min(batch_size, len(images))
        self._images = images
        self._augment = augment
        self._seed = seed
        self._next_epoch = 1
        self._place = images.pixels.device
        self._cursor = torch.zeros(1, dtype=torch.int64, device=images.device)
        self._order = torch.empty(0)  # (steps, B), where the images lie
        self._plan: _D | None = None
        self._ahead: tuple[int, Tensor, _D] | None = None  # an epoch, its order and its plan
        self._fetched: Batch | None = None  # the batch that the host has brought, where it does
        self._row = 0

    def __len__(self) -> int:
        return len(self._images) // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.epoch(self._next_epoch)

    def epoch(self, number: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of epoch `number`, counted from 1, from batch `first` on, counted from 0."""
        self.begin(number, first)
        for _ in range(first, len(self)):
            self.fetch()
            yield self.make()

    def begin(self, number: int, first: int = 0) -> None:
        """Draws all of epoch `number`, to go on with its batch `first`."""
        self._next_epoch = number + 1
        self.look_ahead(number)
        assert self._ahead is not None
        _, order, drawn = self._ahead
        self._ahead = None
        if self._plan is None:
            self._order, self._plan = order, drawn
        else:  # a graph knows where they lie
            self._order.copy_(order)
            self._plan.become(drawn)
        self._cursor.fill_(first)
        self._row = first

    def look_ahead(self, number: int) -> None:
        """Draws epoch `number`, unless it is drawn already."""
        if self._ahead is not None and self._ahead[0] == number:
            return
        images = self._images
        order = epoch_order(len(images), self.batch_size, seed=self._seed, epoch=number)
        order = images.stand_ins[order]
        if self._place.type == "cuda":  # what is not pinned would wait for the device
            order = order.pin_memory().to(self._place, non_blocking=True)
        random = torch.Generator(images.device)
        random.manual_seed(epoch_seed(self._seed, number, _AUGMENTATION))
        self._ahead = number, order, self._draw(order, random)

    def fetch(self) -> None:
        """Brings the next batch to the device, unless all images are there."""
        if self._images.on_device:
            return
        taken = self._images.take(self._order[self._row])
        self._row += 1
        if self._fetched is None:
            self._fetched = taken
        else:
            for mine, new in zip(self._fetched, taken, strict=True):
                mine.copy_(new)

    def make(self) -> tuple[Tensor, Tensor]:
        """The next batch: images (B, 3, R, R) float32, normalised, and targets."""
        assert self._plan is not None  # an epoch has begun
        if self._images.on_device:
            row = self._order.index_select(0, self._cursor).squeeze(0)
            batch = self._images.take(row)
        else:
            assert self._fetched is not None  # it was fetched
            batch = self._fetched
        plan = self._plan.at(self._cursor)
        self._cursor.add_(1)
        return self._augment.apply(batch.images, batch.labels, plan)

    def sample(self, number: int) -> tuple[Tensor, Tensor]:
        """At most `number` images from all over the split and their targets, augmented."""
        num_images = len(self._images)
        places = torch.arange(0, num_images, max(1, num_images // number))[:number]
        chosen = self._images.stand_ins[places].to(self._place)
        device = self._images.device
        random = torch.Generator(device).manual_seed(0)
        plan = self._draw(chosen.unsqueeze(0), random).at(self._cursor.new_zeros(1))
        batch = self._images.take(chosen)
        return self._augment.apply(batch.images, batch.labels, plan, random)

    def check(self, number: int) -> None:
        """All were read when they were decoded."""

    def _draw(self, order: Tensor, random: torch.Generator) -> _D:
        sizes = self._images.sizes[order].to(self._images.device)
        height, width = self._images.pixels.shape[2:]
        return self._augment.draw(sizes, (height, width), random)
