"""Launchers of the Triton kernels: plain functions on tensors, for the operator and for others."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..triton_launch import launch
from .triton_backward import reduce_kernel, weight_kernel
from .triton_forward import conv_kernel

LANES = 32  # a warp: with several warps a program nothing was gained
PROGRAMS = 1584  # 12 warps of up to 168 registers on each of an H100's 132 multiprocessors
MIN_SEGMENT = 8  # rows; the K - 1 rows around a segment are computed for nothing


class _Plan(NamedTuple):
    """How a map is cut. per_image: programs for all channels of one segment of an image."""

    strip: int
    num_strips: int
    per_image: int
    segment: int
    num_segments: int
    options: dict[str, object]


def _strip(width: int, k: int) -> int:
    """Columns of a strip: what wastes least of a map's width, the wider one if both waste as much;
    4 of many taps, for their sums are many."""
    return 4 if k > 9 else min((7, 8), key=lambda strip: (-(-width // strip) * strip, -strip))


@lru_cache(maxsize=1024)
def _plan(shape: torch.Size, k: int, strip: int, wanted_programs: int) -> _Plan:
    B, H, W, C = shape
    num_strips = -(-W // strip)
    per_image = -(-num_strips * C // LANES)
    wanted = -(-wanted_programs // (per_image * B))
    segment = H if wanted == 1 else min(H, max(MIN_SEGMENT, -(-H // wanted)))
    # Above 168 registers a quarter of a multiprocessor holds two warps instead of three.
    limit = {"maxnreg": 168} if k <= 7 else {}
    options: dict[str, object] = {
        "K": k,
        "TW": strip,
        "EVEN": W % strip == 0,
        "LANES": LANES,
        "num_warps": 1,
        **limit,
    }
    return _Plan(strip, num_strips, per_image, segment, -(-H // segment), options)


def forward(x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None = None) -> Tensor:
    """y (B, H, W, C) in x's dtype, of x (B, H, W, C), weight (C, 1, k, k) and bias (C,).

    out: where to write, (B, H, W, C) with unit stride of channels, a slice of a wider tensor for
    instance; None: a new contiguous tensor.
    """
    return _convolve(x, weight, bias, out, flip=False)


def backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    need_x: bool = True,
    need_weight: bool = True,
    need_bias: bool = True,
    dx: Tensor | None = None,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias from dy (B, H, W, C), None where not needed.

    dx: where to write the gradient of x, as `out` of the forward.
    """
    x_gradient = _convolve(dy, weight, None, dx, flip=True) if need_x else None
    if not (need_weight or need_bias):
        return x_gradient, None, None
    dweight, dbias = _weight_gradient(dy, x, weight)
    return x_gradient, dweight if need_weight else None, dbias if need_bias else None


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor | None, flip: bool
) -> Tensor:
    x, weight = _readable(x), weight.contiguous()
    if out is None:
        out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if x.numel() == 0:
        return out
    B, H, W, C = x.shape
    k = weight.shape[-1]
    # In bfloat16 strips of 7, with their order of products (conv_kernel), are better than of 8.
    reordered = k == 7 and W % 7 == 0 and x.dtype == torch.bfloat16
    strip = 7 if reordered else _strip(W, k)
    plan = _plan(x.shape, k, strip, PROGRAMS)
    launch(
        conv_kernel,
        (plan.per_image * plan.num_segments * B,),
        x,
        weight,
        bias.contiguous() if bias is not None else weight,
        out,
        *(H, W, C, plan.num_strips, plan.segment, plan.num_segments),
        *x.stride()[:3],
        *out.stride()[:3],
        LEVELS=(k * k - 1).bit_length(),
        FLIP=flip,
        HAS_BIAS=bias is not None,
        # Where strips do not fill the rows, a row takes more instructions then.
        WHOLE=W % strip == 0 and C % LANES == 0,
        **_margins(plan, W, k),
        **plan.options,
    )
    return out


def _margins(plan: _Plan, width: int, k: int) -> dict[str, int]:
    """The columns that conv_kernel reads beside a strip; none where the map ends.

    Of two strips that fill the rows, each has a margin on one side, which must lie in the other.
    """
    radius = k // 2
    if width == plan.strip:
        return {"LEFT": 0, "RIGHT": 0}
    if width == 2 * plan.strip and radius <= plan.strip:
        return {"LEFT": 0, "RIGHT": radius}
    return {"LEFT": radius, "RIGHT": radius}


def _weight_gradient(dy: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    dy, x = _readable(dy), _readable(x)
    B, H, W, C = x.shape
    k = weight.shape[-1]
    dweight = torch.empty(weight.shape, dtype=weight.dtype, device=weight.device)
    dbias = torch.empty((C,), dtype=weight.dtype, device=weight.device)
    if x.numel() == 0:
        return dweight.zero_(), dbias.zero_()
    plan = _plan(x.shape, k, _strip(W, k), PROGRAMS)
    tasks = B * plan.num_segments
    tasks_each = -(-tasks * plan.per_image // PROGRAMS)
    groups = -(-tasks // tasks_each)
    num_partials = groups * plan.num_strips
    partial = torch.empty((num_partials, k * k + 1, C), dtype=torch.float32, device=x.device)
    launch(
        weight_kernel,
        (plan.per_image * groups,),
        x,
        dy,
        partial,
        *(H, W, C, plan.num_strips, plan.segment, tasks, tasks_each),
        *x.stride()[:3],
        *dy.stride()[:3],
        **plan.options,
    )
    rows, cols = 128, 16
    launch(
        reduce_kernel,
        (k * k + 1, -(-C // cols)),
        *(partial, dweight, dbias, C, num_partials),
        KK=k * k,
        ROWS=rows,
        COLS=cols,
        num_warps=4,
    )
    return dweight, dbias


def _readable(x: Tensor) -> Tensor:
    """x itself if the channels of a pixel lie next to each other, else a copy."""
    return x if x.stride(3) == 1 or x.shape[3] == 1 else x.contiguous()
