"""What a detector is shown of an image in training: resized and flipped."""

from __future__ import annotations

from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from .coco import Target

SHORTER, LONGER = 800, 1333  # pixels of an image's sides in published recipes


class TrainingView:
    """An image and its objects to a (3, H, W) uint8 tensor and the objects in it.

    shorter: pixels of the shorter side. longer: limit of the longer one; None: 1333 for 800 and
        in proportion for others. hflip: probability.
    It is resized as the detector resizes what it scores: bilinearly, without antialiasing.
    """

    def __init__(
        self,
        shorter: int = SHORTER,
        longer: int | None = None,
        hflip: float = 0.5,
    ) -> None:
        longer = longest_side(shorter) if longer is None else longer
        self._transform = v2.Compose(
            [
                v2.RandomHorizontalFlip(hflip),
                v2.RandomShortestSize([shorter], longer, antialias=False),
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
