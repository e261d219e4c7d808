"""Changes of tone: each image by its own operation, to the byte what Pillow makes of it.

An operation that looks at one value at a time is a table of 256 entries for each image and
channel; whatever an image's operation is, looking it up is one pass over the batch. Colour,
contrast and sharpness are Pillow's ImageEnhance: a blend with a degenerate image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor


class Kind(IntEnum):
    """What is done to an image. NONE leaves it alone."""

    NONE = 0
    AUTOCONTRAST = 1
    EQUALIZE = 2
    INVERT = 3
    POSTERIZE = 4
    SOLARIZE = 5
    SOLARIZE_ADD = 6
    BRIGHTNESS = 7
    CONTRAST = 8
    COLOR = 9
    SHARPNESS = 10
    BLUR = 11
    SHEAR_X = 12
    SHEAR_Y = 13
    TRANSLATE_X = 14
    TRANSLATE_Y = 15
    ROTATE = 16


GEOMETRIC = frozenset({Kind.SHEAR_X, Kind.SHEAR_Y, Kind.TRANSLATE_X, Kind.TRANSLATE_Y, Kind.ROTATE})


@dataclass(frozen=True, eq=False)
class _Given:
    """What a table is made of: pixels (B, 3, H, W); argument and value (0 ... 255) broadcast."""

    pixels: Tensor
    grey: Tensor  # (B, 1, H, W), where an operation may ask for it
    argument: Tensor  # (B, 1, 1)
    value: Tensor  # (1, 1, 256) float32


def apply_tones(pixels: Tensor, kind: Tensor, argument: Tensor, used: frozenset[Kind]) -> Tensor:
    """Pixels (B, 3, H, W) float32 of whole numbers, each image changed by its kind (B,).

    argument: (B,): bits kept, threshold, what is added, or the factor of an enhancement.
    used: kinds that can occur; images of others stay as they are.
    """
    grey = _grey(pixels) if Kind.CONTRAST in used or Kind.COLOR in used else pixels
    tables = [name for name in TABLES if name in used]
    if tables:
        value = torch.arange(256, device=pixels.device).float().view(1, 1, 256)
        given = _Given(pixels, grey, argument.view(-1, 1, 1), value)
        table = value.expand(len(pixels), 3, 256)
        for name in tables:
            table = torch.where((kind == name.value).view(-1, 1, 1), TABLES[name](given), table)
        pixels = table.gather(2, pixels.flatten(2).long()).view_as(pixels)
    if Kind.COLOR in used or Kind.SHARPNESS in used:
        # An image whose colour is changed has had no table: its grey is still right.
        pixels = _enhance(pixels, grey, kind, argument, used)
    return pixels


# The places of factors in a jitter; brightness is the first.
_CONTRAST, _COLOR = 1, 2


def jitter(pixels: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """torchvision's ColorJitter without hue: three enhancements in an order of its own an image.

    factors: (B, 3) of brightness, contrast, colour. order: (B, 3), a permutation of 0, 1, 2.
    """
    for step in range(3):
        kind = order[:, step]
        factor = factors.gather(1, kind.long().unsqueeze(1))
        grey = _grey(pixels)
        degenerate = torch.where(
            _each(kind == _COLOR),
            grey,
            torch.where(_each(kind == _CONTRAST), _mean(grey), 0.0),
        )
        pixels = _blend(degenerate, pixels, _each(factor))
    return pixels


def _autocontrast(given: _Given) -> Tensor:
    # float64, for Pillow's own rounding of scale and offset.
    low = given.pixels.amin(dim=(2, 3)).double().unsqueeze(2)
    high = given.pixels.amax(dim=(2, 3)).double().unsqueeze(2)
    scale = 255.0 / (high - low).clamp(min=1)
    spread = (given.value * scale + -low * scale).trunc().clamp(0, 255).float()
    return torch.where(high > low, spread, given.value)


def _equalize(given: _Given) -> Tensor:
    flat = given.pixels.flatten(2).long()
    counts = torch.zeros((*flat.shape[:2], 256), dtype=torch.int64, device=flat.device)
    counts.scatter_add_(2, flat, torch.ones_like(flat))
    highest = flat.amax(dim=2, keepdim=True)
    step = (flat.shape[2] - counts.gather(2, highest)) // 255
    before = counts.cumsum(dim=2) - counts
    even = ((step // 2 + before) // step.clamp(min=1)).clamp(max=255).float()
    return torch.where(step > 0, even, given.value)


def _invert(given: _Given) -> Tensor:
    return 255 - given.value


def _posterize(given: _Given) -> Tensor:
    unit = torch.exp2(8 - given.argument.clamp(max=8))
    return (given.value / unit).floor() * unit


def _solarize(given: _Given) -> Tensor:
    return torch.where(given.value < given.argument, given.value, 255 - given.value)


def _solarize_add(given: _Given) -> Tensor:
    return torch.where(
        given.value < 128, (given.value + given.argument).clamp(max=255), given.value
    )


def _brightness(given: _Given) -> Tensor:
    return _blend(torch.zeros_like(given.value), given.value, given.argument)


def _contrast(given: _Given) -> Tensor:
    return _blend(_mean(given.grey).squeeze(3), given.value, given.argument)


TABLES: dict[Kind, Callable[[_Given], Tensor]] = {
    Kind.AUTOCONTRAST: _autocontrast,
    Kind.EQUALIZE: _equalize,
    Kind.INVERT: _invert,
    Kind.POSTERIZE: _posterize,
    Kind.SOLARIZE: _solarize,
    Kind.SOLARIZE_ADD: _solarize_add,
    Kind.BRIGHTNESS: _brightness,
    Kind.CONTRAST: _contrast,
}


def _enhance(
    pixels: Tensor, grey: Tensor, kind: Tensor, factor: Tensor, used: frozenset[Kind]
) -> Tensor:
    degenerate = grey
    if Kind.SHARPNESS in used:
        degenerate = torch.where(_each(kind == Kind.SHARPNESS.value), _smooth(pixels), degenerate)
    changes = (kind == Kind.COLOR.value) | (kind == Kind.SHARPNESS.value)
    return _blend(degenerate, pixels, _each(torch.where(changes, factor, 1.0)))


def _each(numbers: Tensor) -> Tensor:
    return numbers.view(-1, 1, 1, 1)


def _blend(degenerate: Tensor, values: Tensor, factor: Tensor) -> Tensor:
    """Pillow's Image.blend, which cuts off what is behind the point."""
    return (degenerate + factor * (values - degenerate)).clamp(0, 255).floor()


def _grey(pixels: Tensor) -> Tensor:
    """(B, 1, H, W): ITU-R 601's luma in Pillow's whole numbers."""
    red, green, blue = pixels.int().split(1, dim=1)
    return ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16).float()


def _mean(grey: Tensor) -> Tensor:
    """(B, 1, 1, 1), rounded."""
    mean = grey.sum(dim=(2, 3), keepdim=True, dtype=torch.float64) / grey[0].numel()
    return (mean + 0.5).floor().float()


def _smooth(pixels: Tensor) -> Tensor:
    """Pillow's SMOOTH: 3 x 3 with 5 in the middle, over 13; the outermost pixels stay."""
    # Sums by 1 x 3 and 3 x 1 are exact and need no convolution, which could run in TF32.
    wide = pixels[..., :-2] + pixels[..., 1:-1] + pixels[..., 2:]
    sums = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    inner = ((2 * (sums + 4 * pixels[..., 1:-1, 1:-1]) + 13) / 26).floor()
    return torch.cat(
        [
            pixels[..., :1, :],
            torch.cat([pixels[..., 1:-1, :1], inner, pixels[..., 1:-1, -1:]], dim=3),
            pixels[..., -1:, :],
        ],
        dim=2,
    )


def blur(pixels: Tensor, radius: Tensor) -> Tensor:
    """Pillow's GaussianBlur by each image's radius (B,); 0 changes nothing.

    Three box blurs of fractional width along rows, then three along columns (Gwosdek et al., SSVM
    2011), each a matrix, each rounded to bytes. Pillow's weights have 24 bits, so the two part
    where weights are small fractions and ties common: by up to four levels at a radius of just 1.
    """
    rows, columns = (_box(radius, size).unsqueeze(1) for size in pixels.shape[2:])
    for _ in range(3):
        pixels = torch.matmul(pixels, columns.mT).add_(0.5).floor_()
    for _ in range(3):
        pixels = torch.matmul(rows, pixels).add_(0.5).floor_()
    return pixels.clamp_(0, 255)


def _box(radius: Tensor, size: int) -> Tensor:
    """(B, size, size): a third of a Gaussian blur along one axis, whose ends repeat."""
    variance = radius * radius / 3
    whole = (((12 * variance + 1).sqrt() - 1) / 2).floor()
    part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
    box = (whole + part / (6 * (variance - (whole + 1) ** 2))).view(-1, 1, 1)
    full, inner = 1 / (2 * box + 1), whole.view(-1, 1, 1)
    edge = (1 - (2 * inner + 1) * full) / 2
    place = torch.arange(size, device=radius.device).float()
    distance = (place.unsqueeze(1) - place).abs()

    def beyond(d: Tensor) -> Tensor:
        """Weight of the pixels d and more away on one side."""
        return ((inner - d + 1).clamp(min=0) * full + edge) * (d <= inner + 1)

    weights = torch.where(distance <= inner, full, edge * (distance == inner + 1))
    return torch.cat(
        [
            beyond(place.view(1, -1, 1)),
            weights[:, :, 1:-1],
            beyond((size - 1 - place).view(1, -1, 1)),
        ],
        dim=2,
    )
