"""The photometric distortion of a batch: to the byte what it is of single pictures with Pillow.

mask_transforms.photometric_distortion says what is done and where it comes from.
"""

from __future__ import annotations

import torch
from torch import Tensor


def draw_tones(number: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """(number, 6) float32: what is added, factors of contrast early and late and of saturation,
    the turn of the hue in steps of 256, and whether an image goes into HSV and back."""
    value, coin = torch.rand((2, number, 5), generator=generator, device=device)
    add, contrast, saturation, turn = (value[:, i] for i in range(4))
    heads = coin < 0.5
    is_late, is_changed = heads[:, 4], heads[:, 1]
    factor = 0.5 + contrast
    saturates, turns = heads[:, 2], heads[:, 3]
    drawn = (
        torch.where(heads[:, 0], 64 * add - 32, 0.0),
        torch.where(is_changed & ~is_late, factor, 1.0),
        torch.where(is_changed & is_late, factor, 1.0),
        torch.where(saturates, 0.5 + saturation, 1.0),
        torch.where(turns, 51.2 * turn - 25.6, 0.0),
        (saturates | turns).float(),
    )
    return torch.stack(drawn, dim=1)


def distorted(pixels: Tensor, tones: Tensor) -> Tensor:
    """Pixels (B, 3, H, W) float32 of whole numbers, changed by tones (B, 6)."""
    add, early, late, saturation, turn, is_hsv = (tones[:, i].view(-1, 1, 1, 1) for i in range(6))
    x = _bytes(_bytes(pixels + add) * early)
    hue, saturated, value = hsv(x).split(1, dim=1)
    hue = ((hue + turn) % 256).floor()
    there_and_back = rgb(torch.cat([hue, _bytes(saturated * saturation), value], dim=1))
    return _bytes(torch.where(is_hsv > 0, there_and_back, x) * late)


def hsv(pixels: Tensor) -> Tensor:
    """RGB (B, 3, H, W) of whole numbers to hue, saturation and value, as Pillow rounds them (down).

    The hexcone model (Smith, SIGGRAPH 1978); a turn of the hue is 255.
    """
    value, least = pixels.amax(dim=1), pixels.amin(dim=1)
    chroma = value - least
    # Float64 where Pillow has it, so that what lies just below a whole number stays there.
    short_of = (value.unsqueeze(1) - pixels) / chroma.clamp(min=1).unsqueeze(1)
    from_r, from_g, from_b = short_of.double().unbind(1)
    near_green = torch.where(from_g == 0, 2 + from_r - from_b, 4 + from_g - from_r)
    sixth = torch.where(from_r == 0, from_b - from_g, near_green)
    hue = ((sixth.float().double() / 6 + 1) % 1.0).float()
    saturation = chroma / value.clamp(min=1)
    hue, saturation = ((255 * x.double()).floor().float() for x in (hue, saturation))
    return torch.stack([torch.where(chroma > 0, hue, 0.0), saturation, value], dim=1)


def rgb(pixels: Tensor) -> Tensor:
    """The way back, from whole numbers to whole numbers.

    Along the hue each channel stays at the value for two sixths of a turn, falls for one, stays low
    for two and rises for one; red falls in the second, green in the fourth, blue in the sixth.
    """
    hue, saturation, value = pixels.double().split(1, dim=1)
    begins = torch.arange(5, 0, -2, device=pixels.device).view(1, 3, 1, 1)
    place = (begins + hue * 6 / 255) % 6
    depth = torch.minimum(place, 4 - place).clamp(0, 1)
    return (value * (1 - saturation / 255 * depth) + 0.5).floor().clamp(0, 255).float()


def _bytes(values: Tensor) -> Tensor:
    return values.round().clamp(0, 255)
