"""Average precision of boxes and masks, as pycocotools counts it (by faster-coco-eval, which is
pycocotools in C++).

Each process keeps what it found as plain values; one of them merges and counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as coco_mask
from torch import Tensor, nn

from ..data.coco import CocoSplit
from ..data.coco_json import rle
from ..data.coco_loader import CocoLoader
from ..errors import DataError
from ..processes import gathered
from .base import Score
from .exact import exact_float32

# The first six of COCOeval's summary.
_FIGURES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


@dataclass
class Predictions:
    """What was found in some images of a split; plain values, so it crosses processes.

    images: ids of those that were looked at. found: in COCO's format of results, with box, mask
    (compressed RLE) and score. unreadable: places in the split that were left out, and why.
    """

    images: list[int] = field(default_factory=list)
    found: list[dict[str, Any]] = field(default_factory=list)
    unreadable: dict[int, str] = field(default_factory=dict)


def score(model: nn.Module, loader: CocoLoader, device: torch.device) -> Score:
    """The average precision of a float32 model, which must be on `device` already."""
    predictions = merge(gathered(predict(model, loader, device)))
    return Score(
        metrics=average_precision(loader.split, predictions),
        num_images=len(predictions.images),
        num_corrupt=len(predictions.unreadable),
        batch_size=loader.batch_size,
        device_type=device.type,
    )


@torch.inference_mode()
def predict(model: nn.Module, loader: CocoLoader, device: torch.device) -> Predictions:
    """What a model finds in the images of a scoring loader, in full float32.

    model: as torchvision's Mask R-CNN, with labels from 1.
    """
    was_training = model.training
    model.eval()
    predictions = Predictions()
    with exact_float32(device):
        for images, targets in loader:
            for target, output in zip(targets, model(images), strict=True):
                index = int(target["index"])
                predictions.images.append(loader.split.contents.image_ids[index])
                predictions.found += _results(loader.split, index, output)
    model.train(was_training)
    predictions.unreadable = dict(loader.unreadable)
    return predictions


def merge(parts: Iterable[Predictions]) -> Predictions:
    """The predictions of all processes; of an image that several looked at, the first's."""
    whole = Predictions()
    for part in parts:
        new = set(part.images) - set(whole.images)
        whole.images += sorted(new)
        whole.found += [one for one in part.found if one["image_id"] in new]
        whole.unreadable |= part.unreadable
    return whole


def average_precision(split: CocoSplit, predictions: Predictions) -> dict[str, float]:
    """COCOeval's figures over the images that were looked at, shares from 0 to 1.

    box_ap, box_ap50, box_ap75, box_ap_small, box_ap_medium, box_ap_large, and the same of masks,
    mask_ap, ...; of sizes that no object has, none.

    Crowd regions are ignored as there: what is found in them counts neither for nor against.
    Raises DataError when none of the images has an object.
    """
    truth = _truth(split, predictions.images)
    metrics: dict[str, float] = {}
    for prefix, kind in (("box", "bbox"), ("mask", "segm")):
        named = zip(_FIGURES, _coco_eval(truth, predictions, kind), strict=True)
        metrics |= {f"{prefix}_{name}": value for name, value in named if value >= 0}
    if not metrics:
        raise DataError(
            f"{split.where}: none of the {len(predictions.images)} images that were scored has an "
            "object, so there is no average precision"
        )
    return metrics


def _results(split: CocoSplit, index: int, output: dict[str, Tensor]) -> list[dict[str, Any]]:
    corners = output["boxes"].cpu().double()
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()
    masks = (output["masks"][:, 0] > 0.5).cpu().numpy()  # (n, H, W)
    encoded = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
    category_ids = split.contents.category_ids
    return [
        {
            "image_id": split.contents.image_ids[index],
            "category_id": category_ids[label - 1],
            "bbox": box,
            "segmentation": mask,
            "score": confidence,
        }
        for label, box, mask, confidence in zip(
            output["labels"].tolist(), boxes, encoded, output["scores"].tolist(), strict=True
        )
    ]


def _truth(split: CocoSplit, images: list[int]) -> COCO:
    """The objects of those images, crowds and degenerate ones among them, as the file has them."""
    chosen = set(images)
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, image_id in enumerate(split.contents.image_ids):
        if image_id not in chosen:
            continue
        height, width = split.size(index)
        entries.append({"id": image_id, "height": height, "width": width})
        annotations += [
            {
                # COCOeval takes the id 0 for "matched by nothing", so the file's are not kept.
                "id": row + 1,
                "image_id": image_id,
                "category_id": split.contents.category_ids[split.instances.labels[row]],
                "bbox": split.instances.boxes[row].tolist(),
                "area": float(split.instances.areas[row]),
                "iscrowd": int(split.instances.crowd[row]),
                "segmentation": rle(split.instances.outline(row), height, width),
            }
            for row in split.instances.rows(index)
        ]
    categories = [{"id": number} for number in split.contents.category_ids]
    return COCO({"images": entries, "categories": categories, "annotations": annotations})


def _coco_eval(truth: COCO, predictions: Predictions, kind: str) -> list[float]:
    """The first six figures of COCOeval's summary; -1: there is nothing to count."""
    keys = ["image_id", "category_id", "score"]
    # With boxes, the box's area would decide what is a small, medium or large mask.
    keys += ["bbox"] if kind == "bbox" else ["segmentation"]
    found = truth.loadRes([{key: one[key] for key in keys} for one in predictions.found])
    evaluation = COCOeval_faster(truth, found, kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return [float(value) for value in evaluation.stats[: len(_FIGURES)]]
