"""scikit-learn's digits as an image set: 1797 real handwritten digits, with no download."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SPLITS = ("train", "val", "test")

# Digits come as 8 x 8 pixels; crops of so few pixels would jump, so all are enlarged once.
_SIDE = 32
_SEED = 0
_NUM_VAL, _NUM_TEST = 497, 300


def digits(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 32, 32) in grey and labels (N,) of one of SPLITS, always the same ones.

    Every class is divided in the same proportions: about 1000, 497 and 300 images.
    """
    from sklearn.datasets import load_digits  # costs a second, so only where digits are used

    bunch = load_digits()
    labels = bunch.target.astype(np.int64)
    chosen = _indices(labels)[split]
    grey = (bunch.images[chosen] * (255 / 16)).round().astype(np.uint8)  # stored as 0 ... 16
    large = [
        Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for image in grey
    ]
    return np.stack([np.asarray(image) for image in large]), labels[chosen]


def _indices(labels: NDArray[np.int64]) -> dict[str, NDArray[np.intp]]:
    """The rows of each split, in rising order."""
    # numpy promises that RandomState's stream never changes; Generator's may.
    random = np.random.RandomState(_SEED)
    parts: dict[str, list[NDArray[np.intp]]] = {split: [] for split in SPLITS}
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        num_val = round(len(rows) * _NUM_VAL / len(labels))
        num_test = round(len(rows) * _NUM_TEST / len(labels))
        parts["val"].append(rows[:num_val])
        parts["test"].append(rows[num_val : num_val + num_test])
        parts["train"].append(rows[num_val + num_test :])
    return {split: np.sort(np.concatenate(rows)) for split, rows in parts.items()}
