"""Images with boxes and outlines of objects, as COCO lays them out.

    DIR/annotations/instances_train2017.json    DIR/train2017/*.jpg
    DIR/annotations/instances_val2017.json      DIR/val2017/*.jpg

Opening a split reads its JSON and lists its folder, and reads no image.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from faster_coco_eval import mask as coco_mask
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..data_folder import check_split
from ..errors import DataError
from ..user_paths import expanded
from .coco_json import Contents, Instances, clipped, read_annotations, rle
from .images import as_rgb
from .split import why_missing


class Target(TypedDict):
    """The n objects of an image, as torchvision's detectors take them.

    boxes: (n, 4) float32, x0, y0, x1, y1 in pixels. labels: (n,) int64 from 1, 0 is the background.
    masks: (n, H, W) uint8, 0 or 1.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """One split: N images and the objects in them.

    where: the annotation file, for messages. folder: what the images' names are relative to.
    missing: why, of images that the JSON names and the folder does not hold; reading one raises.
    """

    where: str
    folder: str
    contents: Contents
    missing: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.contents.files)

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of labels: categories by rising id, whatever gaps the ids have."""
        return self.contents.class_names

    @property
    def instances(self) -> Instances:
        return self.contents.instances

    @property
    def num_degenerate(self) -> int:
        """Objects that are not trained on, because no box or outline is left of them."""
        return int((self.instances.degenerate & ~self.instances.crowd).sum())

    def name(self, index: int) -> str:
        return os.path.join(self.folder, self.contents.files[index])

    def size(self, index: int) -> tuple[int, int]:
        """Height and width as the JSON says."""
        height, width = self.contents.sizes[index].tolist()
        return height, width

    def read(self, index: int) -> Image.Image:
        """The image in RGB; raises whatever its decoder raises, and where it is not as the JSON
        says."""
        if index in self.missing:
            raise FileNotFoundError(self.missing[index])
        with Image.open(self.name(index)) as stored:
            image = as_rgb(stored)
        height, width = self.size(index)
        if image.size != (width, height):
            raise ValueError(f"is {image.width} x {image.height}, not {width} x {height}")
        return image

    def target(self, index: int) -> Target:
        """What is trained on: without crowds and degenerate boxes; cut off at the image's edge."""
        rows = self._trained(index)
        height, width = self.size(index)
        encoded = [rle(self.instances.outline(row), height, width) for row in rows]
        masks = (
            coco_mask.decode(encoded).transpose(2, 0, 1)
            if encoded
            else np.zeros((0, height, width), np.uint8)
        )
        return Target(
            boxes=torch.from_numpy(clipped(self.instances.boxes[rows], height, width)).float(),
            labels=torch.from_numpy(self.instances.labels[rows] + 1),
            masks=torch.from_numpy(np.ascontiguousarray(masks)),
        )

    def with_objects(self) -> list[int]:
        """The images that have something to train on."""
        return [index for index in range(len(self)) if self._trained(index).size]

    def counts(self) -> dict[str, int]:
        """The number of objects of each class, crowds among them."""
        numbers = np.bincount(self.instances.labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, numbers.tolist(), strict=True))

    def _trained(self, index: int) -> NDArray[np.int64]:
        rows = np.array(self.instances.rows(index), np.int64)
        return rows[~(self.instances.crowd[rows] | self.instances.degenerate[rows])]


def open_coco(root: str | Path, split: str, key: str = "") -> CocoSplit:
    """A split in COCO's layout by its name (`train2017`), or by its files (`FILE.json:FOLDER`,
    both relative to root). DataError says what is missing, and what there is instead. key: of the
    setting that names the split, for a hint."""
    root = expanded(root)
    check_split("detection", root, split, key)
    if ".json:" in split:
        file, _, folder = split.rpartition(":")
        return open_coco_files(root / file, root / folder)
    annotations = root / "annotations" / f"instances_{split}.json"
    return open_coco_files(annotations, root / split)


def open_coco_files(annotations: Path, folder: Path) -> CocoSplit:
    """A split from its annotation file and its folder of images."""
    if not folder.is_dir():
        raise DataError(f"{annotations}: its folder of images {folder} does not exist")
    contents = read_annotations(annotations)
    here = set(_sizes_of_files(folder))
    missing = {
        i: why_missing(os.path.join(folder, file))
        for i, file in enumerate(contents.files)
        if os.path.normpath(file) not in here
    }
    return CocoSplit(str(annotations), str(folder), contents, missing)


def open_coco_splits(root: str | Path, train: str, val: str) -> tuple[CocoSplit, CocoSplit]:
    """What is trained on and what is scored on; DataError when their categories differ."""
    splits = open_coco(root, train, "task.train"), open_coco(root, val, "task.val")
    first, second = (set(zip(s.contents.category_ids, s.class_names, strict=True)) for s in splits)
    if first != second:
        raise DataError(
            f"the categories of {splits[0].where} and {splits[1].where} must be the same, but "
            f"{_some(first - second)} only in the first, {_some(second - first)} only in the second"
        )
    return splits


def coco_digest(*splits: CocoSplit) -> str:
    """12 hex digits of what the splits hold, wherever they lie: the bytes of the annotations, and
    name and size of each image file; no image is opened."""
    content = hashlib.sha256()
    for split in splits:
        with open(split.where, "rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
        sizes = _sizes_of_files(Path(split.folder))
        for name in split.contents.files:
            content.update(f"{name}:{sizes.get(os.path.normpath(name))}\n".encode())
    return content.hexdigest()[:12]


def _sizes_of_files(folder: Path) -> dict[str, int]:
    """Bytes of every file below a folder, by its path from there."""
    found: dict[str, int] = {}
    open_folders = [str(folder)]
    while open_folders:
        with os.scandir(open_folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    open_folders.append(entry.path)
                elif entry.is_file():
                    found[os.path.relpath(entry.path, folder)] = entry.stat().st_size
    return found


def _some(categories: set[tuple[int, str]], most: int = 8) -> str:
    names = [f"{number} {name}" for number, name in sorted(categories)]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"
