"""Launches of the tensor cores' kernel: for 16-bit maps whose channels come in eights."""

from __future__ import annotations

import triton
from torch import Tensor

from ..backends import interpreted
from ..triton_launch import launch
from .triton_tensor_forward import conv_kernel

CHANNELS, IMAGES, COLUMNS, TW = 16, 16, 16, 8  # of a program; columns of x and y in a product
MIN_IMAGES = 4  # with fewer, products are mostly zeros
MIN_SEGMENT = 8  # rows; the K - 1 rows around a segment are computed for nothing
PROGRAMS = 264  # that an H100 holds at once
# Triton 3.8 brings a row to the products by two exchanges through shared memory, of which one meets
# conflicts of banks: there the general kernel is faster.
FAST = interpreted() or tuple(map(int, triton.__version__.split(".")[:2])) <= (3, 6)


def fits(k: int, *maps: Tensor) -> bool:
    """Whether the kernel should take k x k filters on these maps, (B, H, W, C)."""
    return (
        FAST
        and k <= COLUMNS - TW + 1
        and maps[0].shape[0] >= MIN_IMAGES
        and all(
            m.itemsize == 2
            and m.shape[3] % 8 == 0
            and m.data_ptr() % 16 == 0
            and m.stride(3) == 1
            and not any(stride % 8 for stride in m.stride()[:3])
            for m in maps
        )
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor, flip: bool) -> None:
    """out = x with each channel convolved; flip: with taps turned by 180 degrees."""
    B, H, W, C = x.shape
    k = weight.shape[-1]
    num_strips, num_groups = -(-W // TW), -(-B // IMAGES)
    programs = -(-C // CHANNELS) * num_strips * num_groups
    segment = H
    if programs < PROGRAMS:
        segment = min(H, max(MIN_SEGMENT, -(-H // -(-PROGRAMS // programs))))
    warps = 4 if k <= 7 else 8
    launch(
        conv_kernel,
        (programs * -(-H // segment),),
        *(x, weight, bias if bias is not None else weight, out),
        *(B, H, W, C // 8, num_strips, segment, num_groups),
        *(stride // 8 for m in (x, out) for stride in m.stride()[:3]),
        K=k,
        FLIP=flip,
        HAS_BIAS=bias is not None,
        CHANNELS=CHANNELS,
        IMAGES=IMAGES,
        COLUMNS=COLUMNS,
        TW=TW,
        WARPS=warps,
        STAGES=3,
        num_warps=warps,
    )
