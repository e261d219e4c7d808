"""The gradients of the depthwise convolution's weight and bias on the tensor cores."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tensor_forward import channels_first, product_channels


@triton.jit(
    do_not_specialize=[
        *("B", "H", "W", "eights", "num_strips", "segment", "num_groups", "num_tasks"),
        *("tasks_each", "xb", "xh", "xw", "gb", "gh", "gw"),
    ]
)
def weight_kernel(
    x,  # (B, H, W, C), 16 bits, with strides 8 xb, 8 xh, 8 xw, 1; aligned to 16 bytes, as dy
    dy,  # (B, H, W, C) with strides 8 gb, 8 gh, 8 gw, 1
    partial,  # (parts * num_strips, K * K + 1, C), float32: taps, then the bias
    B,
    H,
    W,
    eights,  # C / 8
    num_strips,
    segment,  # rows of dy that make a task; tasks are counted (segment, group)
    num_groups,  # of IMAGES images
    num_tasks,
    tasks_each,  # that a program adds up
    xb,
    xh,
    xw,
    gb,
    gh,
    gw,
    K: tl.constexpr,
    TAPS: tl.constexpr,  # a power of two, at least K
    CHANNELS: tl.constexpr,
    IMAGES: tl.constexpr,
    COLUMNS: tl.constexpr,
    TW: tl.constexpr,
    WARPS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A row of x times a row of dy, summed over images: all pairs of their columns, (16 x 8) for
    each of K distances between the rows. At the end the sum of a diagonal is a tap's gradient.

    K rows at a time, so that the rows of dy that they meet are known when it is compiled.
    """
    P: tl.constexpr = K // 2
    C = eights * 8
    num_blocks = tl.cdiv(C, CHANNELS)
    pid = tl.program_id(0)
    c0 = (pid % num_blocks) * CHANNELS
    part = pid // num_blocks  # counted (tasks, strip)
    col0 = (part % num_strips) * TW
    first = (part // num_strips) * tasks_each
    c = c0 + tl.arange(0, CHANNELS)
    dtype = x.dtype.element_ty

    pixel = tl.arange(0, IMAGES * COLUMNS)
    col = col0 - P + pixel % COLUMNS
    x_inside = (col >= 0) & (col < W) & (pixel % COLUMNS < TW + K - 1)
    x_inside = x_inside[:, None] & (c < C)[None, :]
    x_image = pixel // COLUMNS
    x_at0 = x + (x_image.to(tl.int64) * (xb * 8))[:, None] + (col * (xw * 8))[:, None] + c[None, :]
    pixel = tl.arange(0, IMAGES * TW)
    col = col0 + pixel % TW
    dy_inside = (col < W)[:, None] & (c < C)[None, :]
    dy_image = pixel // TW
    dy_at0 = dy + (dy_image.to(tl.int64) * (gb * 8))[:, None]
    dy_at0 += (col * (gw * 8))[:, None] + c[None, :]

    ones = tl.full((CHANNELS, 16, IMAGES), 1.0, dtype)
    zero = tl.zeros((CHANNELS, COLUMNS, TW), tl.float32)
    sums = ()
    for _i in tl.static_range(K):
        sums += (zero,)
    bias_sums = tl.zeros((CHANNELS, 16, TW), tl.float32)
    for task in range(first, min(first + tasks_each, num_tasks)):
        b0 = (task % num_groups) * IMAGES
        h0 = (task // num_groups) * segment
        h1 = min(h0 + segment, H)
        lo = max(h0 - P, 0)
        hi = min(h1 + P, H)
        x_ok = x_inside & (b0 + x_image < B)[:, None]
        dy_ok = dy_inside & (b0 + dy_image < B)[:, None]
        x_at = x_at0 + b0.to(tl.int64) * (xb * 8) + lo.to(tl.int64) * (xh * 8)
        dy_at = dy_at0 + b0.to(tl.int64) * (gb * 8) + lo.to(tl.int64) * (gh * 8)
        ring = ()  # rows r - P and on of dy; before row lo there are none that count
        for _i in tl.static_range(P):
            ring += (tl.zeros((IMAGES * TW, CHANNELS), dtype),)
        for i in tl.static_range(P):
            ok = dy_ok & (lo + i >= h0) & (lo + i < h1)
            ring += (tl.load(dy_at, mask=ok, other=0.0),)
            dy_at += gh * 8
        for r0 in tl.range(lo, hi, K, num_stages=STAGES):
            for j in tl.static_range(K):
                r = r0 + j
                ok = dy_ok & (r + P >= h0) & (r + P < h1)
                ring += (tl.load(dy_at, mask=ok, other=0.0),)
                row = tl.load(x_at, mask=x_ok & (r < hi), other=0.0)
                dy_at += gh * 8
                x_at += xh * 8
                row = channels_first(row, IMAGES, COLUMNS, WARPS, True)
                added = ()
                for ky in tl.static_range(K):
                    near = channels_first(ring[j + K - 1 - ky], IMAGES, TW, WARPS, False)
                    added += (tl.dot(row, near, sums[ky]),)
                sums = added
                here = channels_first(ring[j + P], IMAGES, TW, WARPS, False)
                bias_sums = tl.dot(ones, here, bias_sums)
            ring = ring[K:]

    product_c = c0 + product_channels(CHANNELS, WARPS)
    partial += part.to(tl.int64) * ((K * K + 1) * C)
    kx = tl.arange(0, TAPS)
    at = partial + (kx[None, :] * C + product_c[:, None])
    ok = (kx < K)[None, :] & (product_c < C)[:, None]
    diagonal = kx[None, :, None] + tl.arange(0, TW)[None, None, :]
    diagonal = tl.broadcast_to(tl.minimum(diagonal, COLUMNS - 1), (CHANNELS, TAPS, TW))
    for ky in tl.static_range(K):
        tl.store(at + ky * K * C, tl.sum(tl.gather(sums[ky], diagonal, 1), 2), mask=ok)
    of_ones = (tl.arange(0, 16) == 0)[None, :, None]  # all 16 rows are alike
    total = tl.sum(tl.sum(tl.where(of_ones, bias_sums, 0.0), 1), 1)
    tl.store(partial + K * K * C + product_c, total, mask=product_c < C)
