"""Images, and images with masks, decoded once and kept in memory, augmented on the device."""

from __future__ import annotations

import torch

from ..config import Protocol
from ..data import DeviceAugment, ResidentImages, ScoringBatches, Split, load_resident, stored_side
from ..data.augment.plan import Plan
from ..data.decoded_cache import cache_folder
from ..data.decoding import Form, Scored, Whole, WholePair
from ..data.masks import MaskSplit
from ..data.pair_augment import PairAugment, PairPlan, stored_pair_side
from ..data.resident import Kept
from ..data.resident_training import ResidentBatches
from ..errors import ConfigError


def resident_training(
    split: Split, protocol: Protocol, batch_size: int, device: torch.device
) -> ResidentBatches[Plan] | None:
    """None: it must stream, because it does not fit in memory, or because its policy of
    augmentation is one that only a stream can do. Raises DataError."""
    recipe, resolution = protocol.recipe, protocol.fidelity.resolution
    try:
        augment = DeviceAugment(
            recipe.augmentation,
            resolution,
            device,
            num_classes=len(split.class_names),
            label_smoothing=recipe.label_smoothing,
        )
    except ConfigError:
        return None
    images = _kept(split, Whole(stored_side(resolution)), protocol, device)
    if images is None:
        return None
    return ResidentBatches(images, augment, batch_size=batch_size, seed=protocol.seed)


def resident_scoring(
    split: Split, protocol: Protocol, interpolation: str, device: torch.device
) -> ScoringBatches | None:
    """The very batches that a stream gives; None: it must stream. Raises DataError."""
    recipe = protocol.recipe
    form = Scored(protocol.fidelity.resolution, recipe.crop_pct, interpolation)
    images = _kept(split, form, protocol, device)
    return None if images is None else ScoringBatches(images, recipe.batch_size)


def resident_pairs(
    split: MaskSplit, protocol: Protocol, batch_size: int, device: torch.device
) -> ResidentBatches[PairPlan] | None:
    """None: they must stream (data/resident.py says when). Raises DataError."""
    resolution = protocol.fidelity.resolution
    pairs = _kept(split, WholePair(stored_pair_side(resolution)), protocol, device)
    if pairs is None:
        return None
    augment = PairAugment(resolution, device, hflip=protocol.recipe.augmentation.hflip)
    return ResidentBatches(pairs, augment, batch_size=batch_size, seed=protocol.seed)


def _kept(
    split: Kept, form: Form, protocol: Protocol, device: torch.device
) -> ResidentImages | None:
    """A split as the protocol allows it to be, decoded by the first process that asks."""
    return load_resident(
        split,
        form,
        device=device,
        max_corrupt=protocol.task.max_corrupt,
        cache=cache_folder(),
    )
