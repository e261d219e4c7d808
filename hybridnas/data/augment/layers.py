"""One layer of a policy applied to a batch, and to label maps where they go with it."""

from __future__ import annotations

import torch
from torch import Tensor

from .affine import transform
from .policy import Policy
from .tones import Kind, apply_tones, blur


def with_matrices(drawn: Tensor, height: int, width: int) -> Tensor:
    """(n, L, 3) as Policy.draw gives them, followed by the six numbers of affine maps: (n, L, 9).

    The identity where nothing moves. A rotation goes counter-clockwise round the centre, by
    degrees, like Pillow's.
    """
    kind, argument, _ = drawn.unbind(2)
    zero = torch.zeros_like(argument)

    def where(wanted: Kind) -> Tensor:
        return torch.where(kind == wanted.value, argument, zero)

    angle = torch.deg2rad(-where(Kind.ROTATE))
    cos, sin = angle.cos(), angle.sin()
    # What is turned round the centre leaves it where it is.
    x, y = width / 2, height / 2
    matrix = [
        cos,
        sin + where(Kind.SHEAR_X),
        x - (cos * x + sin * y) + where(Kind.TRANSLATE_X),
        -sin + where(Kind.SHEAR_Y),
        cos,
        y - (cos * y - sin * x) + where(Kind.TRANSLATE_Y),
    ]
    return torch.cat([drawn, torch.stack(matrix, dim=2)], dim=2)


def apply_layer(pixels: Tensor, layer: Tensor, policy: Policy) -> Tensor:
    """Pixels (B, 3, H, W) float32 of whole numbers, each image changed by its row of `layer`.

    layer: (B, 9) of `with_matrices`. An image has one operation a layer; the passes of the others
    leave it as it is, to the byte.
    """
    kind, argument, interpolation = layer[:, :3].unbind(1)
    pixels = apply_tones(pixels, kind, argument, policy.used)
    if Kind.BLUR in policy.used:
        pixels = blur(pixels, torch.where(kind == Kind.BLUR.value, argument, 0.0))
    if policy.moves:
        pixels = transform(pixels, layer[:, 3:], interpolation, policy.fill)
    return pixels
