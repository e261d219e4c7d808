"""Batches of images and objects for a detector, read in this process or in others.

As in `loader`, a batch is planned here and made wherever there is a process for it. Images of a
batch differ in size and stay a list: the detector pads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from ..errors import DataError
from ..processes import ALONE, Share
from .batches import Placement
from .coco import CocoSplit, Target
from .detection_views import TrainingView
from .loader import check_readable, spread
from .plans import Plans, planned, seeded


class CocoLoader:
    """Iterates over a split: a list of B images (3, H, W) float32 from 0 to 1, and B targets.

    view: of training images; None: images are scored on, whole and in their own size.
        Training takes the images with objects, in another order each time and only full batches,
        with those of one orientation together, so that little is padded; targets are `coco.Target`
        on the device; the next readable image stands in for one that cannot be read.
        Scoring takes all images in order; a target is {"index": place in the split}, on the CPU;
        images that cannot be read are left out.
    max_corrupt: the share of these images that may be unreadable or missing; more is a DataError,
        for missing ones at once, for others while iterating.
    loader_workers: processes that read images; 0: this one.
    batch_size: of this process. share: which batches are this process's.
    """

    def __init__(
        self,
        split: CocoSplit,
        view: TrainingView | None,
        *,
        batch_size: int,
        seed: int = 0,
        max_corrupt: float,
        device: torch.device,
        loader_workers: int,
        share: Share = ALONE,
    ) -> None:
        training = view is not None
        indices = split.with_objects() if training else list(range(len(split)))
        if not indices:
            raise DataError(f"{split.where}: no image has an object to train on")
        self.split = split
        self.batch_size = min(batch_size, len(indices))
        self.unreadable: dict[int, str] = {}  # index of each image found unreadable, and why
        self._num_images = len(indices)
        self._max_corrupt = max_corrupt
        self._limit = min(int(max_corrupt * len(indices)), len(indices) - 1)
        self._device = device
        self._count({i: split.missing[i] for i in indices if i in split.missing})
        self._plans = _Plans(split, indices, self.batch_size, training, seed, share)
        batches = _Batches(split, view, indices, self._limit)
        self._batches = planned(batches, self._plans, device, loader_workers, keep=training)

    placement: Placement = "stream"

    @property
    def where(self) -> str:
        return self.split.where

    def __len__(self) -> int:
        """Batches of one pass."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        for batch in self._batches:
            self._count(batch.unreadable)
            if batch.images:
                yield self._on_device(batch)

    def epoch(
        self, number: int, first: int = 0
    ) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
        """The batches of pass `number`, counted from 1, from batch `first` on, counted from 0."""
        self._plans.seek(number, first)
        return iter(self)

    def sample(self, number: int) -> tuple[list[Tensor], list[dict[str, Tensor]]] | None:
        """At most `number` images from all over the split with their targets, as iterating gives
        them; None: none can be read. No pass over the data begins, and no random number is drawn
        from anyone."""
        places = range(0, self._num_images, max(1, self._num_images // number))
        batch = self._batches.dataset[_Plan([*places][:number], 0)]
        return self._on_device(batch) if batch.images else None

    def check(self, number: int) -> None:
        """See `Batches`."""
        found = dict(self.unreadable)
        for place in spread(self._num_images, number):
            found |= self._batches.dataset[_Plan([place], 0)].unreadable
        check_readable(self.split, found, self._max_corrupt, self._num_images)

    def _on_device(self, batch: _Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        def move(x: Tensor) -> Tensor:
            return x.to(self._device, non_blocking=True)

        images = [move(image).float().div_(255) for image in batch.images]
        if "index" in batch.targets[0]:
            return images, batch.targets
        return images, [{key: move(x) for key, x in one.items()} for one in batch.targets]

    def _count(self, unreadable: dict[int, str]) -> None:
        self.unreadable |= unreadable
        check_readable(self.split, self.unreadable, self._max_corrupt, self._num_images)


class _Plan(NamedTuple):
    places: list[int]  # in the list of images that are used
    seed: int


class _Batch(NamedTuple):
    images: list[Tensor]  # (3, H, W) uint8
    targets: list[dict[str, Tensor]]
    unreadable: dict[int, str]


class _Plans(Plans[_Plan]):
    def __init__(
        self,
        split: CocoSplit,
        indices: Sequence[int],
        batch_size: int,
        training: bool,
        seed: int,
        share: Share,
    ) -> None:
        super().__init__(seed, share)
        sizes = torch.from_numpy(split.contents.sizes[list(indices)])
        self._upright = sizes[:, 0] > sizes[:, 1]
        self._batch_size = batch_size
        self._training = training

    def __len__(self) -> int:
        whole, rest = divmod(len(self._upright), self._batch_size)
        if self._training:  # all processes take as many steps as the others
            return whole // self._share.num_ranks
        return len(range(self._share.rank, whole + bool(rest), self._share.num_ranks))

    def draw(self, random: torch.Generator) -> list[_Plan]:
        batches = self._grouped(random) if self._training else self._in_order()
        seeds = torch.randint(2**31, (len(batches),), generator=random).tolist()
        plans = [_Plan(batch, seed) for batch, seed in zip(batches, seeds, strict=True)]
        uneven = len(plans) % self._share.num_ranks if self._training else 0
        return plans[: len(plans) - uneven]

    def _in_order(self) -> list[list[int]]:
        places = list(range(len(self._upright)))
        return [places[i : i + self._batch_size] for i in places[:: self._batch_size]]

    def _grouped(self, random: torch.Generator) -> list[list[int]]:
        """Shuffled full batches; at most one has images of both orientations."""
        order = torch.randperm(len(self._upright), generator=random)
        full: list[list[int]] = []
        left: list[int] = []
        for side in (order[self._upright[order]], order[~self._upright[order]]):
            for part in side.split(self._batch_size):
                if len(part) == self._batch_size:
                    full.append(part.tolist())
                else:
                    left += part.tolist()
        if len(left) >= self._batch_size:
            full.append(left[: self._batch_size])
        shuffled = torch.randperm(len(full), generator=random).tolist()
        return [full[i] for i in shuffled]


class _Batches(Dataset[_Batch]):
    """Makes the batch that a plan says."""

    def __init__(
        self, split: CocoSplit, view: TrainingView | None, indices: list[int], limit: int
    ) -> None:
        self._split = split
        self._view = view
        self._indices = indices
        self._limit = limit

    def __getitem__(self, plan: _Plan) -> _Batch:
        unreadable: dict[int, str] = {}
        with seeded(plan.seed):
            made = [self._made(place, unreadable) for place in plan.places]
        good = [pair for pair in made if pair is not None]
        return _Batch([image for image, _ in good], [target for _, target in good], unreadable)

    def _made(
        self, place: int, unreadable: dict[int, str]
    ) -> tuple[Tensor, dict[str, Tensor]] | None:
        """The image and its target, or the next readable one's; None: there is none to give."""
        for _ in self._indices:
            index = self._indices[place]
            image = self._read(index, unreadable)
            if image is not None and self._view is None:
                return pil_to_tensor(image), {"index": torch.tensor(index)}
            if image is not None and self._view is not None:
                seen, target = self._view(image, self._split.target(index))
                return seen, _plain(target)
            if self._view is None or len(unreadable) > self._limit:
                return None
            place = (place + 1) % len(self._indices)
        return None

    def _read(self, index: int, unreadable: dict[int, str]) -> Image.Image | None:
        if index in unreadable:
            return None
        try:
            return self._split.read(index)
        except MemoryError:
            raise
        except Exception as error:  # decoders of broken files raise nearly anything
            unreadable[index] = str(error) or type(error).__name__
            return None


def _plain(target: Target) -> dict[str, Tensor]:
    return {"boxes": target["boxes"], "labels": target["labels"], "masks": target["masks"]}
