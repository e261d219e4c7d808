"""How many images a training takes at a time, and in all."""

from __future__ import annotations

from ..config import Fidelity, Recipe
from ..counting import number_of
from ..processes import ALONE, Share
from .finishing import mixes

_MUCH = 0.1  # of the images


def training_batch_size(recipe: Recipe, num_images: int, share: Share = ALONE) -> int:
    """Of each process: as the recipe says, but no more than there are images; even where they are
    mixed in pairs."""
    size = max(1, min(recipe.batch_size, num_images) // share.num_ranks)
    return max(2, size - size % 2) if mixes(recipe.augmentation) else size


def trained_images(recipe: Recipe, fidelity: Fidelity, num_images: int) -> int:
    """That a training goes through, over all epochs, of so many there are: batches are full ones,
    so that an epoch leaves out what would be left for its last."""
    size = training_batch_size(recipe, num_images)
    return size * fidelity.num_steps(num_images // size)


def left_out_words(num_images: int, taken: int, size: int) -> str:
    """That an epoch leaves out more than a tenth of so many images; empty: it does not. taken: that
    it goes through, in batches of `size`."""
    left = num_images - taken
    if left <= _MUCH * num_images:
        return ""
    return (
        f"each epoch leaves out {left:,} of {number_of(num_images, 'image')}, others each time, "
        f"since batches are full ones of {size:,} (recipe.batch_size)"
    )
