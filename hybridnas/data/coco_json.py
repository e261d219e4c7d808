"""COCO's annotation files: checked once, kept as arrays.

The annotations of COCO's training images are 860,000 Python dictionaries. As arrays they take a
fraction of the memory, and processes that read images can share them.
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import mask as coco_mask
from numpy.typing import NDArray

from ..errors import DataError

# Polygons [[x, y, x, y, ...], ...], or an RLE {"size": [H, W], "counts": [...] or "..."}.
Outline = list[list[float]] | dict[str, Any]


@dataclass(frozen=True, eq=False)
class Instances:
    """The N annotations of a split, grouped by image.

    labels: (N,) int64, positions in the class names. boxes: (N, 4) float64, x, y, width, height in
    pixels. areas: (N,) float64, pixels of the object. crowd: (N,) bool, regions of many objects.
    degenerate: (N,) bool, less than a pixel wide or high, or without outline.
    first: (num_images + 1,) int64; image i has the rows first[i] ... first[i + 1] - 1.
    """

    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    degenerate: NDArray[np.bool_]
    first: NDArray[np.int64]
    _outlines: bytes  # pickled one by one, one after the other
    _ends: NDArray[np.int64]

    def rows(self, image: int) -> range:
        return range(int(self.first[image]), int(self.first[image + 1]))

    def outline(self, row: int) -> Outline:
        start = int(self._ends[row - 1]) if row else 0
        # What this process has pickled itself: no file is ever read so.
        return pickle.loads(self._outlines[start : int(self._ends[row])])


@dataclass(frozen=True, eq=False)
class Contents:
    """What an annotation file says: images in the file's order, categories by rising id."""

    category_ids: tuple[int, ...]
    class_names: tuple[str, ...]
    image_ids: tuple[int, ...]
    files: tuple[str, ...]
    sizes: NDArray[np.int64]  # (num_images, 2): height and width
    instances: Instances


def read_annotations(path: Path) -> Contents:
    """Reads and checks an `instances_*.json`; DataError names the file and the entry."""
    try:
        known = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read as JSON ({error})") from None
    return _read(path, known.st_mtime_ns, known.st_size)


# COCO's own takes half a minute, and every candidate of a search asks for it in its process.
@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int, size: int) -> Contents:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # broken JSON and broken UTF-8 are ValueErrors
        raise DataError(f"{path}: cannot be read as JSON ({error})") from None
    try:
        return _contents(raw)
    except _Wrong as wrong:
        raise DataError(f"{path}: {wrong}") from None


def rle(outline: Outline, height: int, width: int) -> dict[str, Any]:
    """An outline as COCO's compressed RLE; no polygons at all: an empty mask."""
    if isinstance(outline, dict) and not isinstance(outline["counts"], list):
        return outline
    if not outline:
        return coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
    made = coco_mask.frPyObjects(outline, height, width)
    return coco_mask.merge(made) if isinstance(made, list) else made


class _Wrong(Exception):
    """What is wrong with an annotation file, without its name."""


def _contents(raw: object) -> Contents:
    if not isinstance(raw, dict):
        raise _Wrong(f"holds a {type(raw).__name__}, needed is COCO's object of lists")
    images, categories = _entries(raw, "images"), _entries(raw, "categories")
    names = {_whole(c, "id", "category"): _text(c, "name", "category") for c in categories}
    ids = [_whole(image, "id", "image") for image in images]
    for kind, found, given in (
        ("images", len(set(ids)), images),
        ("categories", len(names), categories),
    ):
        if found < len(given):
            raise _Wrong(f"{len(given) - found} of {len(given)} {kind} have an id of another one")
        if not given:
            raise _Wrong(f"has no {kind}")
    sizes = [[_whole(image, side, "image", 1) for side in ("height", "width")] for image in images]
    category_ids = tuple(sorted(names))
    shape = {number: (i, h, w) for i, (number, (h, w)) in enumerate(zip(ids, sizes, strict=True))}
    label = {number: i for i, number in enumerate(category_ids)}
    rows = [_row(entry, shape, label) for entry in _entries(raw, "annotations")]
    if rows and all(row.outline == [] for row in rows):
        raise _Wrong("no annotation has a segmentation, and Mask R-CNN learns from outlines")
    return Contents(
        category_ids,
        tuple(names[number] for number in category_ids),
        tuple(ids),
        tuple(_text(image, "file_name", "image") for image in images),
        np.array(sizes, np.int64),
        _instances(rows, len(images)),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    image: int
    label: int
    box: list[float]
    area: float
    crowd: bool
    degenerate: bool
    outline: Outline


def _row(
    entry: Mapping[str, Any], shape: Mapping[int, tuple[int, int, int]], label: Mapping[int, int]
) -> _Row:
    what = f"annotation {entry.get('id')}"
    image, category = entry.get("image_id"), entry.get("category_id")
    if not isinstance(image, int) or image not in shape:
        raise _Wrong(f"{what} is of image {image!r}, which is not among the images")
    if not isinstance(category, int) or category not in label:
        raise _Wrong(f"{what} is of category {category!r}, which is not among the categories")
    box = entry.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and _are_numbers(box)):
        raise _Wrong(f"{what}: bbox is {box!r}, needed are [x, y, width, height]")
    index, height, width = shape[image]
    outline = _outline(entry.get("segmentation", []), height, width, what)
    area = entry.get("area")
    if area is None:
        area = int(coco_mask.area(rle(outline, height, width)))
    if not _are_numbers([area]):
        raise _Wrong(f"{what}: area is {area!r}, needed is a number of pixels")
    x0, y0, x1, y1 = clipped(np.array([box]), height, width)[0].tolist()
    degenerate = x1 - x0 < 1 or y1 - y0 < 1 or outline == []
    crowd = bool(entry.get("iscrowd", 0))
    return _Row(index, label[category], box, float(area), crowd, degenerate, outline)


def clipped(boxes: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Boxes (N, 4) of x, y, width, height as x0, y0, x1, y1, cut off where the image ends."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    return corners.clip(0, [width, height, width, height])


def _outline(given: object, height: int, width: int, what: str) -> Outline:
    if isinstance(given, dict):
        counts = given.get("counts")
        if given.get("size") != [height, width] or not isinstance(counts, str | list):
            raise _Wrong(
                f"{what}: the mask is of size {given.get('size')!r} with counts of type "
                f"{type(counts).__name__}, the image is of size {[height, width]}"
            )
        if isinstance(counts, list) and sum(counts) != height * width:
            raise _Wrong(f"{what}: the mask's counts add up to {sum(counts)}, not {height * width}")
        return given
    if not isinstance(given, list) or not all(isinstance(polygon, list) for polygon in given):
        raise _Wrong(f"{what}: segmentation is neither a list of polygons nor an RLE")
    if not all(_are_numbers(polygon) for polygon in given):
        raise _Wrong(f"{what}: a polygon holds something that is no number")
    # Fewer than three corners enclose nothing, and pycocotools takes two for a box.
    return [polygon for polygon in given if len(polygon) >= 6 and len(polygon) % 2 == 0]


def _instances(rows: list[_Row], num_images: int) -> Instances:
    rows = sorted(rows, key=lambda row: row.image)  # stable: the file's order within an image
    outlines = [pickle.dumps(row.outline) for row in rows]
    counts = np.bincount(np.array([row.image for row in rows], np.int64), minlength=num_images)
    return Instances(
        labels=np.array([row.label for row in rows], np.int64),
        boxes=np.array([row.box for row in rows], np.float64).reshape(-1, 4),
        areas=np.array([row.area for row in rows], np.float64),
        crowd=np.array([row.crowd for row in rows], np.bool_),
        degenerate=np.array([row.degenerate for row in rows], np.bool_),
        first=np.concatenate([[0], counts.cumsum()]).astype(np.int64),
        _outlines=b"".join(outlines),
        _ends=np.cumsum([len(text) for text in outlines], dtype=np.int64),
    )


def _entries(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    entries = raw.get(key)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise _Wrong(f"needs a list of objects {key!r}; its keys are {', '.join(map(str, raw))}")
    return entries


def _whole(entry: Mapping[str, Any], key: str, kind: str, least: int | None = None) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or (least is not None and value < least):
        raise _Wrong(f"{kind} {entry.get('id')!r}: {key} is {value!r}, needed is a whole number")
    return value


def _text(entry: Mapping[str, Any], key: str, kind: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{kind} {entry.get('id')!r}: {key} is {value!r}, needed is a text")
    return value


def _are_numbers(values: list[Any]) -> bool:
    # COCO has 60 million of them: both checks loop in C.
    return set(map(type, values)) <= {int, float} and math.isfinite(sum(values))
