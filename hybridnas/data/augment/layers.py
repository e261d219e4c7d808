"""One layer of a policy applied to a batch, and to label maps where they go with it."""

from __future__ import annotations

import torch
from torch import Tensor

from .affine import transform, transform_labels
from .policy import Drawn, Policy
from .tones import Kind, apply_tones, blur

_GEOMETRIC = frozenset(
    {Kind.SHEAR_X, Kind.SHEAR_Y, Kind.TRANSLATE_X, Kind.TRANSLATE_Y, Kind.ROTATE}
)


def apply_layer(pixels: Tensor, drawn: Drawn, policy: Policy) -> Tensor:
    """Pixels (B, 3, H, W) float32 of whole numbers, each image changed by its own operation.

    An image has one operation a layer; passes of the others leave it as it is, to the byte.
    """
    pixels = apply_tones(pixels, drawn.kind, drawn.argument, policy.used)
    if Kind.BLUR in policy.used:
        pixels = blur(pixels, torch.where(drawn.kind == Kind.BLUR, drawn.argument, 0.0))
    if policy.used & _GEOMETRIC:
        matrix = matrices(drawn, *pixels.shape[2:])
        pixels = transform(pixels, matrix, drawn.interpolation, policy.fill)
    return pixels


def move_labels(labels: Tensor, drawn: Drawn, policy: Policy, outside: int) -> Tensor:
    """What the layer does to label maps (B, H, W): they move with their pictures."""
    if not policy.used & _GEOMETRIC:
        return labels
    return transform_labels(labels, matrices(drawn, *labels.shape[1:]), outside)


def matrices(drawn: Drawn, height: int, width: int) -> Tensor:
    """(B, 6) for `transform`; the identity where nothing moves.

    A rotation goes counter-clockwise round the centre, by degrees, like Pillow's.
    """
    kind, argument = drawn.kind, drawn.argument
    zero = torch.zeros_like(argument)

    def where(wanted: Kind) -> Tensor:
        return torch.where(kind == wanted, argument, zero)

    angle = torch.deg2rad(-where(Kind.ROTATE))
    cos, sin = angle.cos(), angle.sin()
    # Round the centre: c = centre_x - (cos centre_x + sin centre_y), and so for y.
    x, y = width / 2, height / 2
    return torch.stack(
        [
            cos,
            sin + where(Kind.SHEAR_X),
            x - (cos * x + sin * y) + where(Kind.TRANSLATE_X),
            -sin + where(Kind.SHEAR_Y),
            cos,
            y - (cos * y - sin * x) + where(Kind.TRANSLATE_Y),
        ],
        dim=1,
    )
