"""Pictures for tests of augmentation, and what timm and Pillow make of them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import timm.data.auto_augment as timm_ops
import torch
from PIL import Image, ImageOps
from scipy.stats import ks_2samp
from torch import Tensor

from hybridnas.data.augment.affine import BICUBIC, BILINEAR, NEAREST
from hybridnas.data.augment.tones import Kind

# A test that draws as it should fails once in ten thousand seeds; the seeds are fixed.
P = 1e-4
GREY = (124, 116, 104)
RESAMPLING = {
    NEAREST: Image.Resampling.NEAREST,
    BILINEAR: Image.Resampling.BILINEAR,
    BICUBIC: Image.Resampling.BICUBIC,
}


def pictures(number: int, height: int, width: int, seed: int = 0) -> list[Image.Image]:
    """By turns: noise; something smooth of low contrast; something smooth with one flat channel."""
    random = np.random.default_rng(seed)
    found = []
    for i in range(number):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        small = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        smooth = np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
        if i % 3 == 1:
            pixels = smooth // 2 + 40
        elif i % 3 == 2:
            pixels = smooth
            pixels[..., 1] = 77
        found.append(Image.fromarray(pixels))
    return found


def as_tensor(images: list[Image.Image]) -> Tensor:
    """(N, 3, H, W) uint8."""
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])


def by_pillow(image: Image.Image, kind: int, argument: float, interpolation: int) -> Image.Image:
    """timm's operation of that kind."""
    resample = {"resample": RESAMPLING[interpolation], "fillcolor": GREY}
    table: dict[int, Callable[[], Image.Image]] = {
        Kind.NONE: lambda: image,
        Kind.AUTOCONTRAST: lambda: ImageOps.autocontrast(image),
        Kind.EQUALIZE: lambda: ImageOps.equalize(image),
        Kind.INVERT: lambda: ImageOps.invert(image),
        # Pillow 13 refuses to keep no bits, which timm asks for at its highest level.
        Kind.POSTERIZE: lambda: (
            timm_ops.posterize(image, int(argument)) if argument >= 1 else image.point(lambda _: 0)
        ),
        Kind.SOLARIZE: lambda: timm_ops.solarize(image, argument),
        Kind.SOLARIZE_ADD: lambda: timm_ops.solarize_add(image, int(argument)),
        Kind.BRIGHTNESS: lambda: timm_ops.brightness(image, argument),
        Kind.CONTRAST: lambda: timm_ops.contrast(image, argument),
        Kind.COLOR: lambda: timm_ops.color(image, argument),
        Kind.SHARPNESS: lambda: timm_ops.sharpness(image, argument),
        Kind.BLUR: lambda: timm_ops.gaussian_blur(image, argument),
        Kind.SHEAR_X: lambda: timm_ops.shear_x(image, argument, **resample),
        Kind.SHEAR_Y: lambda: timm_ops.shear_y(image, argument, **resample),
        Kind.TRANSLATE_X: lambda: timm_ops.translate_x_abs(image, argument, **resample),
        Kind.TRANSLATE_Y: lambda: timm_ops.translate_y_abs(image, argument, **resample),
        Kind.ROTATE: lambda: timm_ops.rotate(image, argument, **resample),
    }
    return table[kind]()


def seeded(seed: int = 0) -> torch.Generator:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def same_distribution(ours: Any, theirs: Any) -> bool:
    return bool(ks_2samp(np.asarray(ours), np.asarray(theirs), method="asymp").pvalue > P)
