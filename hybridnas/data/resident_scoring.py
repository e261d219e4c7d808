"""A split that stays decoded, as scoring reads it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .loader import MEAN, STD
from .resident import ResidentImages


class ScoringBatches:
    """A resident split of `Scored` form as ImageLoader gives one for validation.

    Iterates over images (B, 3, R, R) float32, normalised, and labels (B,), in order, without the
    unreadable ones.
    """

    def __init__(self, images: ResidentImages, batch_size: int) -> None:
        self.batch_size = min(batch_size, len(images))
        self.unreadable = images.unreadable
        self.where = images.where
        self._images = images
        self._indices = images.readable.to(images.pixels.device)
        self._mean = 255 * torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
        self._std = 255 * torch.tensor(STD, device=images.device).view(1, 3, 1, 1)

    def __len__(self) -> int:
        return -(-len(self._indices) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for indices in self._indices.split(self.batch_size):
            batch = self._images.take(indices)
            images = batch.images.float().sub_(self._mean).div_(self._std)
            yield images.contiguous(memory_format=torch.channels_last), batch.labels

    def check(self, number: int) -> None:
        """All were read when they were decoded."""
