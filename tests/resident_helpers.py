"""A small folder of pictures of many sizes, and how tests keep it in memory: a plug-in of pytest.

PYTEST_DONT_REWRITE: tests import from here before the plug-in loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hybridnas.config import Task
from hybridnas.data import ResidentImages, Split, Whole, load_resident, open_split, resident
from hybridnas.data.decoding import Form

CPU = torch.device("cpu")
SIZES = [(16, 16), (40, 24), (24, 60), (100, 80), (12, 30)]  # height, width


def write_pets(root: Path) -> Path:
    """Two classes of five pictures of all SIZES; the labels are 0 five times, then 1."""
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        place = root / "pets" / "train" / label
        place.mkdir(parents=True)
        for i, (height, width) in enumerate(SIZES):
            pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")
    return root / "pets"


def split_of(folder: Path) -> Split:
    return open_split(Task(data=str(folder)), "train")


def load(
    folder: Path,
    form: Form | None = None,
    *,
    allowed: float = 0.0,
    cache: Path | None = None,
) -> ResidentImages:
    found = load_resident(
        split_of(folder), form or Whole(48), device=CPU, max_corrupt=allowed, cache=cache
    )
    assert found is not None
    return found


@pytest.fixture
def nothing_kept() -> Iterator[None]:
    """This process keeps no images, before and after."""
    resident.forget()
    yield
    resident.forget()


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    return write_pets(tmp_path)
