"""A small folder of pictures, and the same packed into tar files: a plug-in of pytest.

PYTEST_DONT_REWRITE: tests import from here before the plug-in loads.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("cat", "dog", "emu")
NUMBERS = {"train": 5, "val": 2}


@pytest.fixture
def three_classes(tmp_path: Path) -> Path:
    """Three classes: 5 images of each in train, 2 in val."""
    root = tmp_path / "source" / "pets"
    random = np.random.default_rng(0)
    for split, number in NUMBERS.items():
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for i in range(number):
                pixels = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{name}{i}.png")
    return root


def packed(source: Path, archive: Path) -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w") as tar:
        for path in sorted(source.rglob("*")):
            tar.add(path, str(path.relative_to(source)), recursive=False)
    return archive


def one_archive(folder: Path, at: Path) -> str:
    """A tar of all splits, within a folder."""
    return str(packed(folder.parent, at / "pets.tar"))


def an_archive_a_split(folder: Path, at: Path) -> str:
    for split in NUMBERS:
        packed(folder / split, at / f"{split}.tar")
    return str(at)


def an_archive_a_class(folder: Path, at: Path) -> str:
    """As ImageNet's training set, unpacked once."""
    for split in NUMBERS:
        for name in CLASSES:
            packed(folder / split / name, at / split / f"{name}.tar")
    return str(at)


def archives_in_an_archive(folder: Path, at: Path) -> str:
    """As ImageNet's training set is loaded down."""
    for split in NUMBERS:
        for name in CLASSES:
            packed(folder / split / name, at / "inner" / split / f"{name}.tar")
        packed(at / "inner" / split, at / f"{split}.tar")
    return str(at)
