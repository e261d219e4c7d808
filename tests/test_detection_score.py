"""Average precision against pycocotools, and what is scored by it."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coco_helpers import PACKS, crowd, draw, rectangle, unpacked, write
from faster_coco_eval import mask as coco_mask
from torch import Tensor, nn

from hybridnas.data.coco import CocoSplit, open_coco
from hybridnas.data.coco_json import rle
from hybridnas.data.coco_loader import CocoLoader
from hybridnas.errors import DataError
from hybridnas.tasks.detection_score import (
    Predictions,
    average_precision,
    merge,
    predict,
    score,
)

torch.set_num_threads(1)

CPU = torch.device("cpu")
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def made_up(split: CocoSplit, seed: int = 0) -> Predictions:
    """Detections that are somewhat right: objects moved a little, some of another class, some
    twice, some where there is nothing; in every third image none."""
    random = np.random.default_rng(seed)
    found: list[dict[str, Any]] = []
    for index, image_id in enumerate(split.contents.image_ids):
        height, width = split.size(index)
        for row in split.instances.rows(index) if index % 3 else ():
            for _ in range(int(random.integers(0, 3))):
                mask = coco_mask.decode(rle(split.instances.outline(row), height, width))
                mask = np.roll(mask, random.integers(-4, 5, 2), axis=(0, 1))
                if random.random() < 0.1:
                    mask = np.roll(mask, (height // 2, width // 2), axis=(0, 1))
                label = split.instances.labels[row]
                if random.random() < 0.1:
                    label = (label + 1) % len(split.class_names)
                shift = random.normal(0, 2, 4)
                found.append(
                    {
                        "image_id": image_id,
                        "category_id": split.contents.category_ids[label],
                        "bbox": (split.instances.boxes[row] + shift).clip(0.5).tolist(),
                        "segmentation": coco_mask.encode(np.asfortranarray(mask)),
                        "score": float(random.integers(1, 100)) / 100,  # with ties
                    }
                )
    return Predictions(list(split.contents.image_ids), found)


def by_pycocotools(annotations: str, found: list[dict[str, Any]]) -> dict[str, float]:
    """The same figures from the file itself, as everybody computes them."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    figures: dict[str, float] = {}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # NumPy 2 is newer than it
        truth = coco.COCO(annotations)
        for prefix, kind, other in (("box", "bbox", "segmentation"), ("mask", "segm", "bbox")):
            results = [{k: v for k, v in one.items() if k != other} for one in found]
            evaluation = cocoeval.COCOeval(truth, truth.loadRes(results), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            named = zip(NAMES, evaluation.stats[:6], strict=True)
            figures |= {f"{prefix}_{name}": value for name, value in named if value >= 0}
    return figures


# ---- average precision


@pytest.mark.skipif(
    not (PACKS / "det_coco_mini.tar.gz").exists(), reason=f"no packs of test pictures in {PACKS}"
)
def test_average_precision_is_pycocotools_on_real_objects(tmp_path: Path) -> None:
    split = open_coco(unpacked("det_coco_mini", tmp_path), "val2017")
    predictions = made_up(split)
    metrics = average_precision(split, predictions)
    assert metrics == pytest.approx(by_pycocotools(split.where, predictions.found), abs=1e-6)
    assert metrics.keys() == {f"{kind}_{figure}" for kind in ("box", "mask") for figure in NAMES}
    assert 0.1 < metrics["mask_ap"] < metrics["mask_ap50"] < 0.9


@pytest.fixture
def split(tmp_path: Path) -> CocoSplit:
    """Nine drawn pictures with a crowd in one of them, the last without objects."""
    path = draw(tmp_path, "val", 9)
    raw = json.loads(path.read_text())
    people = crowd(99, 11, 3, (0, 0, 50, 60), (96, 128))
    write(tmp_path, "val", raw["images"], [*raw["annotations"], people])
    return open_coco(tmp_path, "val")


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_pycocotools_on_drawn_objects(split: CocoSplit, seed: int) -> None:
    predictions = made_up(split, seed)
    want = by_pycocotools(split.where, predictions.found)
    assert average_precision(split, predictions) == pytest.approx(want, abs=1e-6)
    assert "box_ap_large" not in want


def exact(split: CocoSplit) -> Predictions:
    """Every object, crowds left out, exactly where it is."""
    found = [
        {
            "image_id": image_id,
            "category_id": split.contents.category_ids[split.instances.labels[row]],
            "bbox": split.instances.boxes[row].tolist(),
            "segmentation": rle(split.instances.outline(row), *split.size(index)),
            "score": 0.9,
        }
        for index, image_id in enumerate(split.contents.image_ids)
        for row in split.instances.rows(index)
        if not split.instances.crowd[row]
    ]
    return Predictions(list(split.contents.image_ids), found)


def test_what_is_found_in_a_crowd_does_not_count(split: CocoSplit) -> None:
    predictions = exact(split)
    assert all(value > 1 - 1e-9 for value in average_precision(split, predictions).values())
    inside = rectangle(1, 11, 3, (2, 2, 30, 30))
    mask = rle(inside["segmentation"], 96, 128)
    one = {"image_id": 11, "category_id": 3, "bbox": inside["bbox"], "segmentation": mask}
    predictions.found.append({**one, "score": 0.99})
    assert all(value > 1 - 1e-9 for value in average_precision(split, predictions).values())
    predictions.found.append({**one, "image_id": 18, "score": 0.99})  # where there is nothing
    metrics = average_precision(split, predictions)
    assert metrics["box_ap50"] < 1
    assert metrics["mask_ap50"] < 1


def test_no_detections_at_all_are_a_score_of_zero(split: CocoSplit) -> None:
    metrics = average_precision(split, Predictions(list(split.contents.image_ids)))
    assert set(metrics.values()) == {0.0}
    assert metrics.keys() >= {"box_ap", "mask_ap75"}


def test_images_without_objects_alone_have_no_precision(split: CocoSplit) -> None:
    with pytest.raises(DataError, match="none of the 1 images that were scored has an object"):
        average_precision(split, Predictions([18]))


def test_unreadable_images_are_left_out_of_the_count(split: CocoSplit) -> None:
    whole = exact(split)
    seen = [number for number in whole.images if number != 10]
    part = Predictions(seen, [one for one in whole.found if one["image_id"] != 10], {0: "broken"})
    assert average_precision(split, part)["box_ap"] == pytest.approx(1.0)


def test_processes_merge_to_what_one_would_have_found(split: CocoSplit) -> None:
    whole = made_up(split)
    halves = [
        Predictions(images, [one for one in whole.found if one["image_id"] in images])
        for images in (whole.images[::2], whole.images[1::2])
    ]
    halves[1].images.append(halves[0].images[0])  # padded to equal length, as some samplers do
    halves[1].found += [one for one in whole.found if one["image_id"] == halves[0].images[0]]
    halves[1].unreadable = {3: "broken"}
    merged = merge(halves)
    assert sorted(merged.images) == sorted(whole.images)
    assert len(merged.found) == len(whole.found)
    assert merged.unreadable == {3: "broken"}
    assert average_precision(split, merged) == average_precision(split, whole)


class Oracle(nn.Module):
    """Finds the coloured rectangles of the pictures that it is shown."""

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        return [self._found(image) for image in images]

    def _found(self, image: Tensor) -> dict[str, Tensor]:
        red, blue = (image[0] - image[2]) > 0.5, (image[2] - image[0]) > 0.5
        masks = [(label, mask) for label, mask in ((1, red), (2, blue)) if mask.any()]
        corners = []
        for _, mask in masks:
            rows, columns = mask.nonzero(as_tuple=True)
            x0, y0 = columns.min(), rows.min()
            corners.append(torch.stack([x0, y0, columns.max() + 1, rows.max() + 1]).float())
        height, width = image.shape[1:]
        return {
            "boxes": torch.stack(corners) if corners else torch.empty(0, 4),
            "labels": torch.tensor([label for label, _ in masks], dtype=torch.int64),
            "scores": torch.ones(len(masks)),
            "masks": torch.stack([m for _, m in masks])[:, None].float()
            if masks
            else torch.empty(0, 1, height, width),
        }


def test_a_model_is_scored_in_the_pixels_of_the_images(split: CocoSplit) -> None:
    loader = CocoLoader(split, None, batch_size=4, max_corrupt=0.0, device=CPU, loader_workers=0)
    predictions = predict(Oracle(), loader, CPU)
    assert predictions.images == list(split.contents.image_ids)
    boxes = {one["image_id"]: one["bbox"] for one in predictions.found}
    alone = [index for index in split.with_objects() if len(split.target(index)["labels"]) == 1]
    assert alone
    for index in alone:
        x0, y0, x1, y1 = split.target(index)["boxes"][0].tolist()
        assert boxes[split.contents.image_ids[index]] == [x0, y0, x1 - x0, y1 - y0]
    result = score(Oracle(), loader, CPU)
    assert (result.num_images, result.num_corrupt, result.device_type) == (9, 0, "cpu")
    assert result.metrics == average_precision(split, predictions)
    assert result.metrics["mask_ap50"] > 0.5
