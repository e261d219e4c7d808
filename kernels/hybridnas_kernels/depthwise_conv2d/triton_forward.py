"""The depthwise convolution in Triton, for the output and for the gradient of the input.

A program is one warp. Each of its lanes owns one channel of a strip of TW columns and walks down
the rows. Lanes count (strip, channel) pairs with channels fastest, so that neighbours read
neighbouring memory and no number of channels leaves lanes idle.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def columns(tile, LEVELS: tl.constexpr):
    """The 2**LEVELS columns of a (LANES, 2**LEVELS) tile, each (LANES,), by cutting in half.

    Memory is read in vectors along channels, while sums need a channel's pixels in its lane: the
    compiler makes one exchange through shared memory of all the cuts together.
    """
    parts = (tile,)
    for level in tl.static_range(LEVELS):
        halves = ()
        for i in tl.static_range(2**level):
            pairs = tl.reshape(parts[i], (tile.shape[0], 2, parts[i].shape[1] // 2))
            first, second = tl.split(tl.permute(pairs, (0, 2, 1)))
            halves += (first, second)
        parts = halves
    found = ()
    for i in tl.static_range(2**LEVELS):
        found += (tl.reshape(parts[i], (tile.shape[0],)).to(tl.float32),)
    return found


@triton.jit
def tile_of(pixels, DTYPE: tl.constexpr, TW: tl.constexpr, LEVELS: tl.constexpr):
    """TW pixels, each (LANES,), as a (LANES, 2**LEVELS) tile; what is beyond them is arbitrary."""
    parts = ()
    for i in tl.static_range(2**LEVELS):
        pixel = pixels[i if i < TW else 0].to(DTYPE)
        parts += (tl.reshape(pixel, (pixel.shape[0], 1)),)
    for level in tl.static_range(LEVELS):
        merged = ()
        for i in tl.static_range(2 ** (LEVELS - 1 - level)):
            both = tl.permute(tl.join(parts[2 * i], parts[2 * i + 1]), (0, 2, 1))
            merged += (tl.reshape(both, (both.shape[0], both.shape[1] * both.shape[2])),)
        parts = merged
    return parts[0]  # type: ignore[misc]


@triton.jit
def owned(lane, C, num_strips, ALIGNED: tl.constexpr):
    """Strip and channel of each lane, and whether it has one."""
    strip = lane // C
    c = lane % C
    if ALIGNED:  # C is a multiple of 8: so many lanes share a strip and have channels in a row
        strip = tl.max_constancy(strip, 8)
        c = tl.max_contiguous(tl.multiple_of(c, 8), 8)
    return strip, c, strip < num_strips


@triton.jit
def place(col0, c, stride, live, W, BEFORE: tl.constexpr, COUNT: tl.constexpr, SIZE: tl.constexpr):
    """Offsets in a row, (LANES, SIZE), of COUNT columns from col0 - BEFORE on, and which exist."""
    j = tl.arange(0, SIZE)
    col = col0[:, None] + (j - BEFORE)[None, :]
    inside = live[:, None] & (col >= 0) & (col < W) & (j < COUNT)[None, :]
    return col * stride + c[:, None], inside


@triton.jit(
    do_not_specialize=["H", "W", "C", "num_strips", "segment", "xb", "xh", "xw", "yb", "yh", "yw"]
)
def conv_kernel(
    x,  # (B, H, W, C) with strides xb, xh, xw (times UNIT), 1
    weight,  # (C, K, K)
    bias,  # (C,), read if HAS_BIAS
    y,  # (B, H, W, C) with strides yb, yh, yw (times UNIT), 1
    H,
    W,
    C,
    num_strips,  # of TW columns, the last one possibly less
    segment,  # rows of y that a program makes
    xb,
    xh,
    xw,
    yb,
    yh,
    yw,
    K: tl.constexpr,
    TAP_LEVELS: tl.constexpr,  # log2 of K * K, rounded up
    FLIP: tl.constexpr,  # taps turned by 180 degrees: y is the gradient of x
    HAS_BIAS: tl.constexpr,
    TW: tl.constexpr,
    STRIP_LEVELS: tl.constexpr,  # log2 of TW, rounded up; TW + K - 1 is at most 16
    UNIT: tl.constexpr,  # 8 if strides and C are multiples of it, else 1
    AHEAD: tl.constexpr,  # rows that are read before they are used
    LANES: tl.constexpr,
):
    """K rows of sums, acc[i * TW + t] for row r - P + i of y while row r of x is added to all.

    Row 0 of the sums is complete after that and is stored; the others move up by one, which is
    free, as a sum may be written to another register than it was read from.
    """
    P: tl.constexpr = K // 2
    pid = tl.program_id(0)
    per_image = tl.cdiv(num_strips * C, LANES)
    num_segments = tl.cdiv(H, segment)
    task = pid // per_image
    h0 = (task % num_segments) * segment
    h1 = min(h0 + segment, H)
    image = (task // num_segments).to(tl.int64)
    lane = (pid % per_image) * LANES + tl.arange(0, LANES)
    strip, c, live = owned(lane, C, num_strips, UNIT == 8)
    col0 = strip * TW
    xh *= UNIT
    yh *= UNIT

    tap = tl.arange(0, 2**TAP_LEVELS)
    kept = live[:, None] & (tap < K * K)[None, :]
    at = weight + (c[:, None] * (K * K) + tap[None, :])
    taps = columns(tl.load(at, mask=kept, other=0.0), TAP_LEVELS)
    if HAS_BIAS:
        start = tl.load(bias + c, mask=live, other=0.0).to(tl.float32)
    else:
        start = tl.zeros((LANES,), tl.float32)
    acc = ()
    for _i in tl.static_range(K * TW):
        acc += (start,)

    lo = max(h0 - P, 0)  # rows of x; those outside the map would add nothing
    hi = min(h1 + P, H)
    x += image * xb * UNIT + lo.to(tl.int64) * xh
    y += image * yb * UNIT + (lo - P).to(tl.int64) * yh
    x_at, x_inside = place(col0, c, xw * UNIT, live, W, P, TW + 2 * P, 16)
    y_at, y_inside = place(col0, c, yw * UNIT, live, W, 0, TW, 2**STRIP_LEVELS)
    queue = ()
    for i in tl.static_range(AHEAD):
        queue += (tl.load(x + x_at, mask=x_inside, other=0.0),)
        x += tl.where(lo + i + 1 < hi, xh, 0)
    for r in range(lo, hi):
        enters = tl.load(x + x_at, mask=x_inside, other=0.0)
        x += tl.where(r + AHEAD + 1 < hi, xh, 0)
        row = columns(queue[0], 4)  # type: ignore[misc]
        sums = ()
        for i in tl.static_range(K):
            for t in tl.static_range(TW):
                total = acc[i * TW + t]  # type: ignore[var-annotated]
                for kx in tl.static_range(K):
                    if FLIP:
                        total += row[t + kx] * taps[i * K + (K - 1 - kx)]
                    else:
                        total += row[t + kx] * taps[(K - 1 - i) * K + kx]
                sums += (total,)
        done = tile_of(sums[:TW], y.dtype.element_ty, TW, STRIP_LEVELS)
        tl.store(y + y_at, done, mask=y_inside & (r - P >= h0))
        y += yh
        acc = sums[TW:]
        for _i in tl.static_range(TW):
            acc += (start,)
        queue = queue[1:]
        queue += (enters,)
    for i in tl.static_range(P):
        r = hi - P + i
        strip_sums = acc[i * TW : i * TW + TW]
        done = tile_of(strip_sums, y.dtype.element_ty, TW, STRIP_LEVELS)
        tl.store(y + y_at, done, mask=y_inside & (r >= h0) & (r < h1))
        y += yh
