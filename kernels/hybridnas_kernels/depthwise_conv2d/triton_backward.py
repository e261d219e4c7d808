"""The gradients of the depthwise convolution's weight and bias in Triton: sums, then their sum."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_forward import load_row


@triton.jit
def load_strip(row, stride, c, col0, ok, W, TW: tl.constexpr, EVEN: tl.constexpr):
    """A strip without margins, (LANES,) each, from the row that starts at `row`; 0 if not ok."""
    pixels = ()
    at = row + (col0 * stride + c)
    for t in tl.static_range(TW):
        inside = ok if EVEN else ok & (col0 + t < W)
        pixels += (tl.load(at, mask=inside, other=0.0).to(tl.float32),)
        at += stride
    return pixels


@triton.jit(
    do_not_specialize=[
        *("H", "W", "C", "num_strips", "segment", "num_tasks", "tasks_each"),
        *("xb", "xh", "xw", "gb", "gh", "gw"),
    ]
)
def weight_kernel(
    x,  # (B, H, W, C) with strides xb, xh, xw, 1
    dy,  # (B, H, W, C) with strides gb, gh, gw, 1
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
    EVEN: tl.constexpr,
    LANES: tl.constexpr,
):
    """Lanes as in conv_kernel. Row r of x meets rows r - P to r + P of dy, kept in `ring`."""
    P: tl.constexpr = K // 2
    per_image = tl.cdiv(num_strips * C, LANES)
    num_segments = tl.cdiv(H, segment)
    pid = tl.program_id(0)
    lane = (pid % per_image) * LANES + tl.arange(0, LANES)
    group = pid // per_image
    live = lane < num_strips * C
    lane = tl.where(live, lane, 0)
    strip = lane // C
    c = lane % C
    col0 = strip * TW

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
        x_row = x + image * xb + lo.to(tl.int64) * xh
        dy_row = dy + image * gb + (lo - P).to(tl.int64) * gh
        ring = ()
        for i in tl.static_range(K):
            r = lo - P + i
            ring += load_strip(dy_row, gw, c, col0, (r >= h0) & (r < h1), W, TW, EVEN)
            dy_row += gh
        first = load_row(x_row, xw, c, col0, strip, num_strips, W, P, P, TW, EVEN)
        row = ()
        for j in tl.static_range(TW + 2 * P):
            row += (first[j] + 0.0,)  # as in conv_kernel
        for r in range(lo, hi):
            x_row += tl.where(r + 1 < hi, xh, 0)
            ahead = load_row(x_row, xw, c, col0, strip, num_strips, W, P, P, TW, EVEN)
            enters = load_strip(dy_row, gw, c, col0, r + P + 1 < h1, W, TW, EVEN)
            dy_row += gh
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
            ring = ring[TW:] + enters
            row = ahead
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
