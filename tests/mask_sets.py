"""Small sets with masks: written here, in ADE20K's layout, and the real ones beside a checkout."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hybridnas.config import Task

CLASSES = ("ground", "disc", "square")


def real_set(name: str, into: Path) -> Path:
    """The real set of that name, unpacked; skips the test where it is not."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    pack = Path(os.environ.get("HYBRIDNAS_TEST_DATA", beside)) / f"{name}.tar.gz"
    if not pack.exists():
        pytest.skip(f"{pack} is not there")
    with tarfile.open(pack) as opened:
        opened.extractall(into, filter="data")
    return into / name


def task(root: Path, **given: object) -> Task:
    return Task.model_validate({"name": "segmentation", "data": str(root), **given})


def shapes(
    random: np.random.Generator, height: int, width: int
) -> tuple[Image.Image, NDArray[np.uint8]]:
    """An image of a disc and a square on a ground, with noise, and its labels: 0 at the border
    of the image (ignored), then CLASSES."""
    y, x = np.mgrid[:height, :width]
    labels = np.ones((height, width), np.uint8)
    radius = height // 4
    cy, cx = random.integers(radius, height - radius), random.integers(radius, width - radius)
    labels[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] = 2
    side = height // 2
    top, left = random.integers(0, height - side), random.integers(0, width - side)
    labels[top : top + side, left : left + side] = 3
    colours = np.array([[90, 110, 90], [200, 60, 60], [60, 60, 200]])
    noise = random.normal(0, 25, (height, width, 3))
    pixels = (colours[labels - 1] + noise).clip(0, 255).astype(np.uint8)
    labels[0], labels[:, 0] = 0, 0
    return Image.fromarray(pixels), labels


def write_set(
    root: Path, *, training: int = 6, validation: int = 4, size: tuple[int, int] = (32, 48)
) -> Path:
    """A set of `shapes` with a list of its classes."""
    random = np.random.default_rng(0)
    for split, number in {"training": training, "validation": validation}.items():
        for kind in ("images", "annotations"):
            (root / kind / split).mkdir(parents=True)
        for i in range(number):
            image, labels = shapes(random, *size)
            image.save(root / "images" / split / f"{i:03}.png")
            Image.fromarray(labels).save(root / "annotations" / split / f"{i:03}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return root
