"""timm's posterising, where it keeps no bit of a channel.

RandAugment with a standard deviation (`rand-m9-mstd0.5-inc1`) asks for that now and then. Pillow
before 13 makes a black image of it, and the published trainings had those; Pillow 13 raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from PIL import Image
from timm.data.auto_augment import AugmentOp, posterize


def allow_no_bits(transform: Any) -> None:
    """Changes the operations of timm's policies within a transform, in place."""
    for operation in _operations(transform):
        if operation.aug_fn is posterize:
            operation.aug_fn = _posterize


def _posterize(image: Image.Image, bits_to_keep: int, **others: Any) -> Image.Image:
    if bits_to_keep >= 1:
        posterized: Image.Image = posterize(image, bits_to_keep, **others)
        return posterized
    return Image.new(image.mode, image.size)


def _operations(transform: Any) -> Iterator[AugmentOp]:
    """Of a Compose, RandAugment (ops), AutoAugment (policy: lists of them)."""
    if isinstance(transform, AugmentOp):
        yield transform
        return
    parts = transform if isinstance(transform, list) else []
    for name in ("transforms", "ops", "policy"):
        parts = [*parts, *getattr(transform, name, [])]
    for part in parts:
        yield from _operations(part)
