"""Launchers of the tensor cores' kernels: for 16-bit maps whose channels come in eights."""

from __future__ import annotations

import torch
from torch import Tensor

from ..triton_launch import launch
from .triton_tensor_backward import weight_kernel
from .triton_tensor_forward import conv_kernel

CHANNELS, IMAGES, COLUMNS, TW = 16, 16, 16, 8  # of a program; columns of x and y in a product
MIN_IMAGES = 4  # with fewer, products are mostly zeros
MIN_SEGMENT = 8  # rows; the K - 1 rows around a segment are computed for nothing
PROGRAMS = {"conv": 264, "weight": 132}  # that an H100 holds at once


def fits(k: int, *maps: Tensor) -> bool:
    """Whether kernels for k x k filters can read and write these maps, (B, H, W, C)."""
    return (
        k <= COLUMNS - TW + 1
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
    segment = _segment(H, programs, PROGRAMS["conv"])
    warps = 4 if k <= 7 else 8
    launch(
        conv_kernel,
        (programs * -(-H // segment),),
        x,
        weight,
        bias if bias is not None else weight,
        out,
        *(B, H, W, C // 8, num_strips, segment, num_groups),
        *_eights(x),
        *_eights(out),
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


def weight_partials(dy: Tensor, x: Tensor, k: int) -> Tensor:
    """(parts, k * k + 1, C) in float32: parts of the gradients of weight and bias."""
    B, H, W, C = x.shape
    num_strips, num_groups = -(-W // TW), -(-B // IMAGES)
    cells = -(-C // CHANNELS) * num_strips
    segment = _segment(H, cells * num_groups, PROGRAMS["weight"])
    tasks = num_groups * -(-H // segment)
    tasks_each = -(-tasks * cells // PROGRAMS["weight"])
    parts = -(-tasks // tasks_each)
    partial = torch.empty((parts * num_strips, k * k + 1, C), dtype=torch.float32, device=x.device)
    launch(
        weight_kernel,
        (cells * parts,),
        x,
        dy,
        partial,
        *(B, H, W, C // 8, num_strips, segment, num_groups, tasks, tasks_each),
        *_eights(x),
        *_eights(dy),
        K=k,
        TAPS=8 if k <= 8 else 16,
        CHANNELS=CHANNELS,
        IMAGES=IMAGES,
        COLUMNS=COLUMNS,
        TW=TW,
        WARPS=8,
        STAGES=2,
        num_warps=8,
    )
    return partial


def _segment(rows: int, programs: int, wanted: int) -> int:
    """How many rows a program takes, so that there are programs enough."""
    return rows if programs >= wanted else min(rows, max(MIN_SEGMENT, rows * programs // wanted))


def _eights(x: Tensor) -> list[int]:
    return [stride // 8 for stride in x.stride()[:3]]
