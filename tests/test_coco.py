"""COCO splits, what is trained on of them, and their digest, from real and from drawn pictures."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_helpers import PACKS, crowd, draw, rectangle, unpacked, write
from faster_coco_eval import mask as coco_mask
from PIL import Image

from hybridnas.data.coco import coco_digest, open_coco, open_coco_files, open_coco_splits
from hybridnas.data.coco_json import rle
from hybridnas.errors import DataError

needs_packs = pytest.mark.skipif(
    not (PACKS / "det_coco_mini.tar.gz").exists(), reason=f"no packs of test pictures in {PACKS}"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five drawn pictures in train, three in val; the last of each without objects."""
    draw(tmp_path / "set", "train", 5)
    draw(tmp_path / "set", "val", 3, seed=1)
    return tmp_path / "set"


def edit(root: Path, change: Callable[[dict[str, Any]], object], split: str = "train") -> None:
    path = root / "annotations" / f"instances_{split}.json"
    raw = json.loads(path.read_text())
    change(raw)
    path.write_text(json.dumps(raw))


# ---- real sets


@needs_packs
def test_coco_mini_is_read_as_it_is_described(tmp_path: Path) -> None:
    train, val = open_coco_splits(unpacked("det_coco_mini", tmp_path), "train2017", "val2017")
    assert (len(train), len(val)) == (208, 79)
    assert (sum(train.counts().values()), sum(val.counts().values())) == (1678, 624)
    assert len(train.class_names) == 80
    assert train.class_names[11] == "stop sign"
    assert train.contents.category_ids[11] == 13  # COCO has no 12
    assert (train.num_degenerate, val.num_degenerate) == (3, 0)
    assert train.instances.crowd.sum() + val.instances.crowd.sum() > 0
    assert not train.missing
    for index in range(0, len(val), 10):
        image, target = val.read(index), val.target(index)
        assert image.size == val.size(index)[::-1]
        assert len(target["boxes"]) == len(target["masks"]) == len(target["labels"])
        assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
        for box, mask in zip(target["boxes"], target["masks"], strict=True):
            rows, columns = np.nonzero(mask.numpy())  # the outline fills its box
            edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(np.array(edges) - box.numpy()).max() < 3


@needs_packs
def test_files_of_other_names_are_given_as_a_pair(tmp_path: Path) -> None:
    root = unpacked("det_dali61", tmp_path)
    split = open_coco(root, "annotations/instances.json:images")
    assert (len(split), sum(split.counts().values()), len(split.class_names)) == (61, 88, 17)
    assert split.read(0).size == split.size(0)[::-1]
    with pytest.raises(
        DataError,
        match=r"no annotations/instances_train2017.json; it holds annotations, images; fi",
    ):
        open_coco(root, "train2017")


# ---- what is trained on


def test_targets_are_the_boxes_and_what_they_enclose(root: Path) -> None:
    split = open_coco(root, "train")
    assert split.class_names == ("brick", "pool")  # by id, not in the file's order
    assert split.contents.category_ids == (3, 7)
    assert split.with_objects() == [0, 1, 2, 3]
    colours = {1: [220, 30, 30], 2: [30, 60, 220]}
    for index in range(4):
        pixels, target = np.asarray(split.read(index)), split.target(index)
        for x in range(len(target["labels"])):
            inside = pixels[target["masks"][x].numpy() == 1]
            assert (inside == colours[int(target["labels"][x])]).all()
            x0, y0, x1, y1 = target["boxes"][x].tolist()
            assert len(inside) == (x1 - x0) * (y1 - y0)
    empty = split.target(4)
    assert empty["boxes"].shape == (0, 4)
    assert empty["masks"].shape == (0, 96, 128)
    assert empty["labels"].dtype == torch.int64


def test_crowds_and_degenerate_boxes_are_kept_but_not_trained_on(tmp_path: Path) -> None:
    draw(tmp_path, "train", 1)
    flat = rectangle(1, 10, 3, (5, 5, 20, 0))
    outside = rectangle(2, 10, 3, (200, 5, 20, 20))
    no_outline = {**rectangle(3, 10, 3, (5, 5, 20, 20)), "segmentation": [[5, 5, 20, 20]]}
    over_the_edge = rectangle(4, 10, 7, (100, 80, 50, 50))
    people = crowd(5, 10, 3, (0, 0, 60, 40), (96, 128))
    images = [{"id": 10, "file_name": "0.png", "height": 96, "width": 128}]
    write(tmp_path, "train", images, [flat, outside, no_outline, over_the_edge, people])
    split = open_coco(tmp_path, "train")
    assert len(split.instances.labels) == 5
    assert split.num_degenerate == 3
    target = split.target(0)
    assert target["boxes"].tolist() == [[100, 80, 128, 96]]
    assert target["masks"].sum() == 28 * 16
    outline = rle(split.instances.outline(4), 96, 128)
    mask = np.zeros((96, 128))
    mask[:40, :60] = 1
    assert (coco_mask.decode(outline) == mask).all()


def test_an_area_that_is_not_given_is_that_of_the_mask(root: Path) -> None:
    want = open_coco(root, "train").instances.areas
    edit(root, lambda raw: [entry.pop("area") for entry in raw["annotations"]])
    assert open_coco(root, "train").instances.areas.tolist() == want.tolist()


# ---- what is wrong with a set


def set_in(key: str, field: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda raw: raw[key][0].update({field: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw.pop("images"), "needs a list of objects 'images'; its keys are annot"),
        (lambda raw: raw["images"].clear(), "has no images"),
        (lambda raw: raw["images"].append(raw["images"][0]), "1 of 6 images have an id of another"),
        (lambda raw: raw["categories"].clear(), "has no categories"),
        (set_in("images", "height", "96"), "image 10: height is '96', needed is a whole number"),
        (set_in("images", "width", 0), "image 10: width is 0, needed"),
        (set_in("images", "file_name", None), "image 10: file_name is None, needed is a text"),
        (set_in("annotations", "image_id", 99), "annotation 1 is of image 99, which is not among"),
        (set_in("annotations", "category_id", 4), "annotation 1 is of category 4, which is not"),
        (set_in("annotations", "category_id", [4]), r"annotation 1 is of category \[4\]"),
        (set_in("annotations", "bbox", [1, 2, 3]), r"annotation 1: bbox is \[1, 2, 3\], needed"),
        (set_in("annotations", "bbox", [1, 2, 3, float("nan")]), r"annotation 1: bbox is \[1, 2"),
        (set_in("annotations", "area", "big"), "annotation 1: area is 'big'"),
        (set_in("annotations", "segmentation", "all"), "annotation 1: segmentation is neither"),
        (
            set_in("annotations", "segmentation", [["a"] * 6]),
            "annotation 1: a polygon holds",
        ),
        (
            set_in("annotations", "segmentation", {"size": [9, 9], "counts": [81]}),
            r"annotation 1: the mask is of size \[9, 9\] with .*, the image is of size \[96, 128\]",
        ),
        (
            set_in("annotations", "segmentation", {"size": [96, 128], "counts": [81]}),
            "annotation 1: the mask's counts add up to 81, not 12288",
        ),
        (
            lambda raw: [entry.pop("segmentation") for entry in raw["annotations"]],
            "no annotation has a segmentation",
        ),
    ],
)
def test_wrong_annotations_are_named(
    root: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(root, change)
    with pytest.raises(DataError, match=rf"instances_train\.json: {message}") as caught:
        open_coco(root, "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"images": [', "[1, 2]", "\x00"])
def test_broken_json_is_named(root: Path, text: str) -> None:
    (root / "annotations" / "instances_val.json").write_text(text)
    with pytest.raises(DataError, match=r"instances_val\.json: (cannot be read as|holds a list)"):
        open_coco(root, "val")


def test_missing_folders_are_named(root: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist; allowed is a folder in COCO"):
        open_coco(root / "nowhere", "train")
    with pytest.raises(DataError, match="its splits are train, val; files of other names"):
        open_coco(root, "test")
    shutil.rmtree(root / "val")
    with pytest.raises(
        DataError, match=r"has no folder val for the images of annotations/instances_val\.json"
    ):
        open_coco(root, "val")
    with pytest.raises(DataError, match="cannot be read as JSON"):
        open_coco_files(root / "none.json", root / "train")


def test_categories_of_both_splits_must_be_the_same(root: Path) -> None:
    edit(root, lambda raw: raw["categories"][0].update(name="lake"), "val")
    message = r"7 pool only in the first, 7 lake only in the second"
    with pytest.raises(DataError, match=message):
        open_coco_splits(root, "train", "val")


def test_an_image_that_is_missing_or_of_another_size_is_not_read(root: Path) -> None:
    (root / "train" / "1.png").unlink()
    Image.new("L", (40, 30)).save(root / "train" / "2.png")
    split = open_coco(root, "train")
    assert split.missing == {1: "no such file"}
    with pytest.raises(FileNotFoundError, match="no such file"):
        split.read(1)
    with pytest.raises(ValueError, match="is 40 x 30, not 128 x 96"):
        split.read(2)


def test_images_outside_of_the_folder_are_missing(root: Path) -> None:
    edit(root, set_in("images", "file_name", "../val/0.png"))
    assert list(open_coco(root, "train").missing) == [0]


def test_images_may_lie_in_folders_of_the_folder(root: Path) -> None:
    (root / "train" / "day").mkdir()
    (root / "train" / "0.png").rename(root / "train" / "day" / "0.png")
    edit(root, set_in("images", "file_name", "day/0.png"))
    split = open_coco(root, "train")
    assert not split.missing
    assert split.read(0).size == (128, 96)


# ---- digest


def test_digest_follows_the_content_not_the_place(root: Path) -> None:
    before = coco_digest(*open_coco_splits(root, "train", "val"))
    assert len(before) == 12
    moved = root.rename(root.with_name("moved"))
    assert coco_digest(*open_coco_splits(moved, "train", "val")) == before
    edit(moved, set_in("annotations", "area", 7))
    changed = coco_digest(*open_coco_splits(moved, "train", "val"))
    assert changed != before
    with (moved / "val" / "0.png").open("ab") as file:
        file.write(b"x")
    assert coco_digest(*open_coco_splits(moved, "train", "val")) not in (before, changed)
