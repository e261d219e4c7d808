"""The gradients of the depthwise convolution's weight and bias in Triton: sums, then their sum."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_forward import columns, owned, place


@triton.jit(
    do_not_specialize=[
        *("H", "W", "C", "num_strips", "segment", "num_tasks", "tasks_each"),
        *("xb", "xh", "xw", "gb", "gh", "gw"),
    ]
)
def weight_kernel(
    x,  # (B, H, W, C) with strides xb, xh, xw (times UNIT), 1
    dy,  # (B, H, W, C) with strides gb, gh, gw (times UNIT), 1
    partial,  # (groups, num_strips, K * K + 1, C), float32: taps, then the bias
    H,
    W,
    C,
    num_strips,
    segment,  # rows of dy that make a task; tasks are counted (image, segment)
    num_tasks,
    tasks_each,  # that a program adds up
    xb,
    xh,
    xw,
    gb,
    gh,
    gw,
    K: tl.constexpr,
    TW: tl.constexpr,
    STRIP_LEVELS: tl.constexpr,
    UNIT: tl.constexpr,
    AHEAD: tl.constexpr,
    LANES: tl.constexpr,
):
    """Lanes as in conv_kernel. Row r of x meets rows r - P to r + P of dy, kept in `ring`."""
    P: tl.constexpr = K // 2
    pid = tl.program_id(0)
    per_image = tl.cdiv(num_strips * C, LANES)
    num_segments = tl.cdiv(H, segment)
    group = pid // per_image
    lane = (pid % per_image) * LANES + tl.arange(0, LANES)
    strip, c, live = owned(lane, C, num_strips, UNIT == 8)
    col0 = strip * TW
    xh *= UNIT
    gh *= UNIT
    x_at, x_inside = place(col0, c, xw * UNIT, live, W, P, TW + 2 * P, 16)
    dy_at, dy_inside = place(col0, c, gw * UNIT, live, W, 0, TW, 2**STRIP_LEVELS)

    zero = tl.zeros((LANES,), tl.float32)
    sums = ()
    for _i in tl.static_range(K * K):
        sums += (zero,)
    bias_sum = zero
    for task in range(group * tasks_each, min((group + 1) * tasks_each, num_tasks)):
        h0 = (task % num_segments) * segment
        h1 = min(h0 + segment, H)
        lo = max(h0 - P, 0)
        hi = min(h1 + P, H)
        image = (task // num_segments).to(tl.int64)
        x_row = x + (image * xb * UNIT + lo.to(tl.int64) * xh)
        dy_row = dy + (image * gb * UNIT + (lo - P).to(tl.int64) * gh)
        ring = ()
        for i in tl.static_range(K):
            inside = dy_inside & (lo - P + i >= h0) & (lo - P + i < h1)
            strips = columns(tl.load(dy_row + dy_at, mask=inside, other=0.0), STRIP_LEVELS)
            ring += strips[:TW]
            dy_row += gh
        x_queue = ()
        dy_queue = ()
        for i in tl.static_range(AHEAD):
            x_queue += (tl.load(x_row + x_at, mask=x_inside, other=0.0),)
            x_row += tl.where(lo + i + 1 < hi, xh, 0)
            inside = dy_inside & (lo + P + 1 + i < h1)
            dy_queue += (tl.load(dy_row + dy_at, mask=inside, other=0.0),)
            dy_row += gh
        for r in range(lo, hi):
            x_enters = tl.load(x_row + x_at, mask=x_inside, other=0.0)
            x_row += tl.where(r + AHEAD + 1 < hi, xh, 0)
            inside = dy_inside & (r + P + 1 + AHEAD < h1)
            dy_enters = tl.load(dy_row + dy_at, mask=inside, other=0.0)
            dy_row += gh
            row = columns(x_queue[0], 4)  # type: ignore[misc]
            added = ()
            for ky in tl.static_range(K):
                for kx in tl.static_range(K):
                    total = sums[ky * K + kx]  # type: ignore[var-annotated]
                    for t in tl.static_range(TW):
                        total += row[t + kx] * ring[(K - 1 - ky) * TW + t]
                    added += (total,)
            sums = added
            for t in tl.static_range(TW):
                bias_sum += ring[P * TW + t]
            strips = columns(dy_queue[0], STRIP_LEVELS)  # type: ignore[misc]
            ring = ring[TW:] + strips[:TW]
            x_queue = x_queue[1:]
            x_queue += (x_enters,)
            dy_queue = dy_queue[1:]
            dy_queue += (dy_enters,)
    at = partial + ((group.to(tl.int64) * num_strips + strip) * ((K * K + 1) * C) + c)
    for i in tl.static_range(K * K):
        tl.store(at, sums[i], mask=live)
        at += C
    tl.store(at, bias_sum, mask=live)


@triton.jit(do_not_specialize=["C", "num_partials"])
def reduce_kernel(
    partial,  # (num_partials, KK + 1, C), float32
    dweight,  # (C, KK)
    dbias,  # (C,)
    C,
    num_partials,
    KK: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
):
    """One tap of COLS channels: their partial sums, ROWS at a time, always in the same order."""
    tap = tl.program_id(0)
    c = tl.program_id(1) * COLS + tl.arange(0, COLS)
    n = tl.arange(0, ROWS)
    pitch = ((KK + 1) * C).to(tl.int64)
    at = partial + (n[:, None] * pitch + (tap * C + c)[None, :])
    sums = tl.zeros((ROWS, COLS), tl.float32)
    for n0 in range(0, num_partials, ROWS):
        inside = (n0 + n < num_partials)[:, None] & (c < C)[None, :]
        sums += tl.load(at, mask=inside, other=0.0)
        at += ROWS * pitch
    total = tl.sum(sums, 0)
    if tap < KK:
        tl.store(dweight + c * KK + tap, total.to(dweight.dtype.element_ty), mask=c < C)
    else:
        tl.store(dbias + c, total.to(dbias.dtype.element_ty), mask=c < C)
