"""Posterising that keeps no bit gives the black image that it gave before Pillow 13."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image
from timm.data.auto_augment import auto_augment_transform, rand_augment_transform

from hybridnas.config import Augmentation
from hybridnas.tasks.classification import _training_transform
from hybridnas.tasks.posterize import allow_no_bits

PICTURE = Image.fromarray(np.random.default_rng(0).integers(1, 256, (16, 16, 3), np.uint8))


def test_no_bits_are_black_and_more_are_pillows() -> None:
    policy = rand_augment_transform("rand-m10-inc1", {})
    allow_no_bits(policy)
    (operation,) = (op for op in policy.ops if op.name == "PosterizeIncreasing")
    operation.prob = 1.0
    assert not np.asarray(operation(PICTURE)).any()
    operation.magnitude = 5
    assert np.array_equal(np.asarray(operation(PICTURE)), np.asarray(PICTURE) & 0b11000000)


def test_policies_of_lists_are_reached() -> None:
    policy = auto_augment_transform("originalr", {})
    allow_no_bits(policy)
    posterizing = [op for ops in policy.policy for op in ops if "Posterize" in op.name]
    assert posterizing
    assert {op.aug_fn.__module__ for op in posterizing} == {"hybridnas.tasks.posterize"}


@pytest.mark.parametrize("policy", ["rand-m9-mstd0.5-inc1", "rand-m10-n4-inc1-p1"])
def test_the_published_policies_run(policy: str) -> None:
    transform = _training_transform(Augmentation(auto_augment=policy), 16)
    random.seed(0)
    for label in range(300):
        image, _ = transform(PICTURE, label)
        assert image.shape == (3, 16, 16)
