"""What happens to an image and the classes of its pixels before they make a batch.

The training pipeline of mmsegmentation's ADE20K recipes, on one pair at a time: resized by a
random factor, cropped, flipped, distorted in brightness and colour, padded. All that is random is
drawn from torch's generator.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from .loader import MEAN
from .masks import IGNORED

# A PIL image and its classes (H, W), to an image (3, H', W') and classes (H'', W''), both bytes.
PairTransform = Callable[[Image.Image, NDArray[np.uint8]], tuple[Tensor, Tensor]]

# A panorama's longer side, in shorter sides: published recipes fit images into 2048 x 512.
LONGEST = 4
# Of the crop's side, an image's shorter one; of a crop's labelled pixels, those of one class.
SCALE = (0.5, 2.0)
CAT_MAX_RATIO = 0.75
CROPS_TRIED = 10
PADDING = [round(255 * value) for value in MEAN]


def training_pair(
    side: int,
    *,
    scale: tuple[float, float] = SCALE,
    cat_max_ratio: float = CAT_MAX_RATIO,
    hflip: float = 0.5,
    distort: bool = True,
) -> PairTransform:
    """Crops of side x side pixels for training.

    The shorter side of an image is resized to `side` times a random factor of `scale`, then a crop
    is drawn, up to ten times while one class has cat_max_ratio of its labelled pixels or more.
    hflip: share of mirrored ones. distort: photometric_distortion. Where the image ends before
    the crop does, it is padded on the right and below, with the mean colour and IGNORED.
    """

    def transform(image: Image.Image, classes: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        factor = _uniform(*scale)
        size = fitted_size(image.size[1], image.size[0], factor * side)
        mode = InterpolationMode.NEAREST_EXACT  # its grid is the one of bilinear interpolation
        pixels = F.resize(F.pil_to_tensor(image), list(size), InterpolationMode.BILINEAR)
        mask = F.resize(torch.from_numpy(classes)[None], list(size), mode)
        top, left = _draw_crop(mask[0], side, cat_max_ratio)
        pixels = pixels[:, top : top + side, left : left + side]
        mask = mask[:, top : top + side, left : left + side]
        if torch.rand(()) < hflip:
            pixels, mask = pixels.flip(2), mask.flip(2)
        if distort:
            pixels = photometric_distortion(pixels)
        return _padded(pixels, side), F.pad(mask, _margins(mask, side), fill=IGNORED)[0]

    return transform


def scoring_pair(side: int) -> PairTransform:
    """The image with its shorter side resized to `side` pixels; the classes as they are."""

    def transform(image: Image.Image, classes: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        size = fitted_size(image.size[1], image.size[0], side)
        pixels = F.resize(F.pil_to_tensor(image), list(size), InterpolationMode.BILINEAR)
        return pixels, torch.from_numpy(classes)

    return transform


def fitted_size(height: int, width: int, side: float) -> tuple[int, int]:
    """The size with the same proportions whose shorter side is `side`, or whose longer side is
    four times that, whichever is smaller; in pixels, at least 1."""
    factor = min(side / min(height, width), LONGEST * side / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def photometric_distortion(image: Tensor) -> Tensor:
    """Brightness, contrast, saturation, contrast again and hue of (3, H, W) bytes, each changed in
    one image of two (contrast once, early or late): SSD's distortion (Liu et al., ECCV 2016,
    section 2.2) as mmsegmentation's PhotoMetricDistortion documents it.

    Brightness: up to 32 steps of 255 more or less. Contrast, saturation: times 0.5 to 1.5. Hue:
    turned by up to 36 degrees.
    """
    x = image.permute(1, 2, 0).numpy()
    if _coin():
        x = _bytes(x + _uniform(-32, 32))
    late = _coin()
    if not late and _coin():
        x = _bytes(x * _uniform(0.5, 1.5))
    saturate, turn = _coin(), _coin()
    if saturate or turn:  # a way into HSV and back rounds
        hsv = np.array(Image.fromarray(x).convert("HSV"))
        if saturate:
            hsv[..., 1] = _bytes(hsv[..., 1] * _uniform(0.5, 1.5))
        if turn:
            hsv[..., 0] = (hsv[..., 0] + _uniform(-25.6, 25.6)) % 256  # a turn is 256 steps
        x = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    if late and _coin():
        x = _bytes(x * _uniform(0.5, 1.5))
    return torch.from_numpy(np.array(x)).permute(2, 0, 1)


def _draw_crop(mask: Tensor, side: int, cat_max_ratio: float) -> tuple[int, int]:
    """Top and left of a crop of (H, W) classes with more than one class, if ten draws find one."""
    height, width = mask.shape
    top = left = 0
    for _ in range(CROPS_TRIED):
        top = int(torch.randint(max(height - side, 0) + 1, ()))
        left = int(torch.randint(max(width - side, 0) + 1, ()))
        crop = mask[top : top + side, left : left + side]
        counts = torch.bincount(crop.flatten(), minlength=IGNORED + 1)[:IGNORED]
        if counts.max() < cat_max_ratio * counts.sum():
            break
    return top, left


def _padded(pixels: Tensor, side: int) -> Tensor:
    return F.pad(pixels, _margins(pixels, side), fill=PADDING)


def _margins(x: Tensor, side: int) -> list[int]:
    """Left, top, right, bottom."""
    return [0, 0, side - x.shape[2], side - x.shape[1]]


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _coin() -> bool:
    return torch.rand(()).item() < 0.5


def _bytes(x: NDArray[np.floating]) -> NDArray[np.uint8]:
    return x.round().clip(0, 255).astype(np.uint8)
