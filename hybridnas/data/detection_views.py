"""What a detector is shown of an image in training: resized, flipped, at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from .coco import Target

SHORTER, LONGER = 800, 1333  # pixels of an image's sides in published recipes
# Of the 3x schedules: DETR's augmentation (Carion et al., ECCV 2020, section 4).
MULTI_SCALE = tuple(range(480, SHORTER + 1, 32))
_BEFORE_CROP, _CROP = (400, 500, 600), (384, 600)


class TrainingView:
    """An image and its objects to a (3, H, W) uint8 tensor and the objects in it.

    shorter: pixels of the shorter side. longer: limit of the longer one; None: 1333 for 800 and
        in proportion for others. hflip: probability.
    multi_scale: the shorter side is drawn from 480 to 800 (in proportion), and every other image
        is cut to a window of 384 to 600 first.
    It is resized as the detector resizes what it scores: bilinearly, without antialiasing.
    """

    def __init__(
        self,
        shorter: int = SHORTER,
        longer: int | None = None,
        hflip: float = 0.5,
        multi_scale: bool = False,
    ) -> None:
        longer = longest_side(shorter) if longer is None else longer
        resize: v2.Transform = _resize([shorter], longer)
        if multi_scale:
            sides = _in_proportion(MULTI_SCALE, shorter)
            cut = [
                _resize(_in_proportion(_BEFORE_CROP, shorter), longer),
                _Cut(*_in_proportion(_CROP, shorter)),
                _resize(sides, longer),
            ]
            resize = v2.RandomChoice([_resize(sides, longer), v2.Compose(cut)])
        self._transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(hflip),
                resize,
                v2.ClampBoundingBoxes(),
                v2.SanitizeBoundingBoxes(min_size=1),
            ]
        )

    def __call__(self, image: Image.Image, target: Target) -> tuple[Tensor, Target]:
        height, width = target["masks"].shape[1:]
        seen, found = self._transform(
            tv_tensors.Image(functional.pil_to_tensor(image)),
            {
                "boxes": tv_tensors.BoundingBoxes(
                    target["boxes"], format="XYXY", canvas_size=(height, width)
                ),
                "labels": target["labels"],
                "masks": tv_tensors.Mask(target["masks"]),
            },
        )
        return seen.as_subclass(Tensor), Target(
            boxes=found["boxes"].as_subclass(Tensor),
            labels=found["labels"],
            masks=found["masks"].as_subclass(Tensor),
        )


def longest_side(shorter: int) -> int:
    """The limit of the longer side that goes with a shorter one: 1333 for 800."""
    return round(shorter * LONGER / SHORTER)


class _Cut(v2.Transform):  # type: ignore[misc] # torchvision has no types
    """A window of random place, whose sides are drawn from `least` to `most` pixels."""

    def __init__(self, least: int, most: int) -> None:
        super().__init__()
        self._least, self._most = least, most

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.query_size(flat_inputs)
        window_height, window_width = self._side(height), self._side(width)
        return {
            "top": _draw(0, height - window_height),
            "left": _draw(0, width - window_width),
            "height": window_height,
            "width": window_width,
        }

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(functional.crop, inpt, **params)

    def _side(self, whole: int) -> int:
        return _draw(min(whole, self._least), min(whole, self._most))


def _draw(least: int, most: int) -> int:
    return int(torch.randint(least, most + 1, ()))


def _resize(sides: Sequence[int], longer: int) -> v2.Transform:
    return v2.RandomShortestSize(list(sides), longer, antialias=False)


def _in_proportion(sides: Sequence[int], shorter: int) -> list[int]:
    return [max(1, round(side * shorter / SHORTER)) for side in sides]
