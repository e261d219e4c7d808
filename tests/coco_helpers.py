"""Data sets in COCO's format for tests: rectangles drawn here, and real pictures from a pack."""

from __future__ import annotations

import json
import os
import tarfile
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PACKS = Path(
    os.environ.get("HYBRIDNAS_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")
)
COLOURS = {3: (220, 30, 30), 7: (30, 60, 220)}  # by category id, with gaps as COCO has them
NAMES = {3: "brick", 7: "pool"}


def unpacked(name: str, into: Path) -> Path:
    """The folder of a pack such as `det_coco_mini`."""
    with tarfile.open(PACKS / f"{name}.tar.gz") as pack:
        pack.extractall(into, filter="data")
    return into / name


def rectangle(number: int, image: int, category: int, box: tuple[int, ...]) -> dict[str, Any]:
    """An annotation whose outline is its box (x, y, width, height)."""
    x, y, w, h = box
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": list(box),
        "area": w * h,
        "iscrowd": 0,
        "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
    }


def crowd(
    number: int, image: int, category: int, box: tuple[int, ...], size: tuple[int, int]
) -> dict[str, Any]:
    """A region of many objects: an uncompressed RLE, as COCO stores them."""
    x, y, w, h = box
    mask = np.zeros(size, np.uint8)
    mask[y : y + h, x : x + w] = 1
    runs = [(value, len(list(run))) for value, run in groupby(mask.flatten(order="F").tolist())]
    counts = [length for _, length in runs]
    if runs[0][0]:  # counts begin with the background
        counts = [0, *counts]
    plain = rectangle(number, image, category, box)
    return {**plain, "iscrowd": 1, "segmentation": {"size": list(size), "counts": counts}}


def draw(
    root: Path, split: str, number: int, *, size: tuple[int, int] = (96, 128), seed: int = 0
) -> Path:
    """A split of grey pictures (height, width) with one or two coloured rectangles in each, the
    last one without any. Returns the annotation file."""
    folder = root / split
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    height, width = size
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for i in range(number):
        pixels = random.integers(90, 130, (height, width, 3), dtype=np.uint8)
        for part in range(0 if i == number - 1 else int(random.integers(1, 3))):
            category = int(random.choice(list(COLOURS)))
            w, h = (int(side) for side in random.integers(24, 44, 2))
            x = part * width // 2 + int(random.integers(0, width // 2 - w + 1))
            y = int(random.integers(0, height - h + 1))
            pixels[y : y + h, x : x + w] = COLOURS[category]
            annotations.append(rectangle(len(annotations) + 1, i + 10, category, (x, y, w, h)))
        Image.fromarray(pixels).save(folder / f"{i}.png")
        images.append({"id": i + 10, "file_name": f"{i}.png", "height": height, "width": width})
    return write(root, split, images, annotations)


def write(
    root: Path, split: str, images: list[dict[str, Any]], annotations: list[dict[str, Any]]
) -> Path:
    categories = [{"id": number, "name": name} for number, name in sorted(NAMES.items())[::-1]]
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return path
