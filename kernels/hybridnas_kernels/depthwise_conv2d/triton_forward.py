"""The depthwise convolution in Triton, for the output and for the gradient of the input.

A program is one warp. Each of its lanes owns one channel of a strip of TW columns and walks down
the rows. Lanes count (strip, channel) pairs with channels fastest, so that neighbours read
neighbouring memory and no number of channels leaves lanes idle.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_taps(weight, c, K: tl.constexpr, LEVELS: tl.constexpr):
    """The K * K taps of the channel of each lane, as a tuple of (LANES,) in float32.

    A channel's taps lie together: loading one tap for all lanes would touch a cache line a lane.
    So the tile is loaded along the taps and cut in half, LEVELS = log2 of its width times, which
    costs one exchange between the lanes.
    """
    t = tl.arange(0, 2**LEVELS)
    tile = tl.load(weight + (c[:, None] * (K * K) + t[None, :]), mask=(t < K * K)[None, :])
    parts = (tile,)
    for level in tl.static_range(LEVELS):
        halves = ()
        for i in tl.static_range(2**level):
            pairs = tl.reshape(parts[i], (c.shape[0], 2, parts[i].shape[1] // 2))
            first, second = tl.split(tl.permute(pairs, (0, 2, 1)))
            halves += (first, second)
        parts = halves
    taps = ()
    for i in tl.static_range(K * K):
        taps += (tl.reshape(parts[i], (c.shape[0],)).to(tl.float32),)
    return taps


@triton.jit
def load_pixel(at, j: tl.constexpr, col0, strip, num_strips, W, LEFT: tl.constexpr,
               TW: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """The pixel at column col0 - LEFT + j of a map of W columns, zero outside.

    EVEN: strips fill the rows, so that only the outermost strips' margins lie outside; then two
    predicates serve all columns, and none is needed where no margin is read that can lie outside.
    """
    if EVEN:
        if j < LEFT:
            pixel = tl.load(at, mask=strip >= (LEFT - j + TW - 1) // TW, other=0.0)
        elif LEFT > 0 and j >= TW + LEFT:
            pixel = tl.load(at, mask=strip + (1 + (j - TW - LEFT) // TW) < num_strips, other=0.0)
        else:
            pixel = tl.load(at)
    else:
        col = col0 + (j - LEFT)
        pixel = tl.load(at, mask=(col >= 0) & (col < W), other=0.0)
    return pixel.to(tl.float32)


@triton.jit
def load_row(row, stride, c, col0, strip, num_strips, W, LEFT: tl.constexpr, RIGHT: tl.constexpr,
             TW: tl.constexpr, EVEN: tl.constexpr):  # fmt: skip
    """A strip with its margins, (LANES,) each, from the row that starts at `row`."""
    pixels = ()
    at = row + ((col0 - LEFT) * stride + c)
    for j in tl.static_range(LEFT + TW + RIGHT):
        pixels += (load_pixel(at, j, col0, strip, num_strips, W, LEFT, TW, EVEN),)
        at += stride
    return pixels


@triton.jit
def with_row(acc, row, taps, K: tl.constexpr, TW: tl.constexpr, LEFT: tl.constexpr,
             RIGHT: tl.constexpr, FLIP: tl.constexpr, BACKWARDS: tl.constexpr,
             LAST_TAP_FIRST: tl.constexpr):  # fmt: skip
    """The K * TW sums acc with all products of a row of pixels and of the K * K taps added.

    Columns of a margin that the row has not lie outside the map. The order of the products decides
    which operands ptxas keeps from one instruction to the next, and the ports of the register file
    are what limits the kernel. BACKWARDS: the loops over rows of sums and over columns descend;
    LAST_TAP_FIRST: that over a row of taps does.
    """
    STEP: tl.constexpr = -1 if BACKWARDS else 1
    OUTSIDE: tl.constexpr = K // 2 - LEFT
    sums = ()
    for i in tl.static_range(K - 1 if BACKWARDS else 0, -1 if BACKWARDS else K, STEP):
        line = ()
        for t in tl.static_range(TW - 1 if BACKWARDS else 0, -1 if BACKWARDS else TW, STEP):
            total = acc[i * TW + t]
            for kx in tl.static_range(
                K - 1 if LAST_TAP_FIRST else 0,
                -1 if LAST_TAP_FIRST else K,
                -1 if LAST_TAP_FIRST else 1,
            ):
                if t + kx >= OUTSIDE and t + kx < K // 2 + TW + RIGHT:
                    if FLIP:
                        total += row[t + kx - OUTSIDE] * taps[i * K + (K - 1 - kx)]
                    else:
                        total += row[t + kx - OUTSIDE] * taps[(K - 1 - i) * K + kx]
            line = (total,) + line if BACKWARDS else line + (total,)
        sums = line + sums if BACKWARDS else sums + line
    return sums


@triton.jit
def store_strip(row, stride, c, col0, ok, W, pixels, TW: tl.constexpr, EVEN: tl.constexpr):
    at = row + (col0 * stride + c)
    for t in tl.static_range(TW):
        inside = ok if EVEN else ok & (col0 + t < W)
        tl.store(at, pixels[t].to(row.dtype.element_ty), mask=inside)
        at += stride


@triton.jit(
    do_not_specialize=["H", "W", "C", "num_strips", "segment", "num_segments"]
    + ["xb", "xh", "xw", "yb", "yh", "yw"]
)
def conv_kernel(
    x,  # (B, H, W, C) with strides xb, xh, xw, 1
    weight,  # (C, K, K)
    bias,  # (C,), read if HAS_BIAS
    y,  # (B, H, W, C) with strides yb, yh, yw, 1
    H,
    W,
    C,
    num_strips,  # of TW columns, the last one possibly less
    segment,  # rows of y that a program makes
    num_segments,  # of an image
    xb,
    xh,
    xw,
    yb,
    yh,
    yw,
    K: tl.constexpr,
    LEVELS: tl.constexpr,
    FLIP: tl.constexpr,  # taps turned by 180 degrees: y is the gradient of x
    HAS_BIAS: tl.constexpr,
    TW: tl.constexpr,
    EVEN: tl.constexpr,  # TW divides W
    WHOLE: tl.constexpr,  # LANES divides C
    LEFT: tl.constexpr,  # columns that are read beside a strip: K // 2, or 0 if all lie outside
    RIGHT: tl.constexpr,
    LANES: tl.constexpr,
):
    """K rows of sums, acc[i * TW + t] for row r - P + i of y while row r of x is added to all.

    Row 0 of the sums is complete after that and is stored; the others move up by one, which is
    free, as a sum may be written to another register than it was read from.
    """
    P: tl.constexpr = K // 2
    # The orders that the ports of the register file like best (kernels/docs). For strips of 8,
    # strips that do not fill the rows, 5 x 5 taps, and the gradient of x in other types, the order
    # that is better for these is worse.
    BFLOAT16: tl.constexpr = x.dtype.element_ty == tl.bfloat16
    REORDER: tl.constexpr = K == 7 and TW == 7 and EVEN and (BFLOAT16 or not FLIP)
    BACKWARDS: tl.constexpr = REORDER and LEFT == 0
    per_image = tl.cdiv(num_strips * C, LANES)
    pid = tl.program_id(0)
    task = pid // per_image
    lane0 = (pid % per_image) * LANES
    h0 = (task % num_segments) * segment
    h1 = min(h0 + segment, H)
    image = (task // num_segments).to(tl.int64)
    MIRRORED: tl.constexpr = LEFT < RIGHT  # two strips: the second is seen from the right
    if WHOLE:
        live = tl.full((LANES,), 1, tl.int1)
        place = lane0
    else:
        place = lane0 + tl.arange(0, LANES)
        live = place < num_strips * C
        place = tl.where(live, place, 0)
    if RIGHT == 0:
        strip = 0
    elif MIRRORED:
        strip = (place >= C).to(tl.int32)
    else:
        strip = place // C
    if WHOLE:  # channels by addition of constants, so that all taps have one address and constants
        c0 = place - strip * C
        c = tl.arange(0, LANES)
    else:
        c0 = 0
        c = place - strip * C
    x += c0
    y += c0
    if MIRRORED:
        mirrored = strip > 0
        x += tl.where(mirrored, (W - 1) * xw, 0)
        y += tl.where(mirrored, (W - 1) * yw, 0)
        col0 = 0
        xw = tl.where(mirrored, -xw, xw)
        yw = tl.where(mirrored, -yw, yw)
    else:
        col0 = strip * TW

    lo = max(h0 - P, 0)  # rows of x; those outside the map would add nothing
    hi = min(h1 + P, H)
    x += image * xb + lo.to(tl.int64) * xh
    y += image * yb + (lo - P).to(tl.int64) * yh
    # Before the taps, so that the two are on their way at the same time.
    first = load_row(x, xw, c, col0, strip, num_strips, W, LEFT, RIGHT, TW, EVEN)
    if HAS_BIAS:
        start = tl.load(bias + c0 + c).to(tl.float32)
    else:
        start = tl.zeros((LANES,), tl.float32)
    acc = ()
    for _i in tl.static_range(K * TW):
        acc += (start,)
    taps = load_taps(weight + c0 * (K * K), c, K, LEVELS)
    if MIRRORED:
        seen = ()
        for i in tl.static_range(K * K):
            seen += (tl.where(mirrored, taps[i + (K - 1) - i % K * 2], taps[i]),)
        taps = seen
    row = ()
    for j in tl.static_range(LEFT + TW + RIGHT):
        # The sum keeps the compiler from moving the conversion of all rows to where they are used.
        row += (first[j] + 0.0,)
    for r in range(lo, hi):
        x += tl.where(r + 1 < hi, xh, 0)
        ahead = load_row(x, xw, c, col0, strip, num_strips, W, LEFT, RIGHT, TW, EVEN)
        sums = with_row(acc, row, taps, K, TW, LEFT, RIGHT, FLIP, BACKWARDS, REORDER)
        store_strip(y, yw, c, col0, live & (r - P >= h0), W, sums[:TW], TW, EVEN)
        y += yh
        acc = sums[TW:]
        for _i in tl.static_range(TW):
            acc += (start,)
        row = ahead
    for i in tl.static_range(P):
        done = hi - P + i
        ok = live & (done >= h0) & (done < h1)
        store_strip(y, yw, c, col0, ok, W, acc[i * TW : i * TW + TW], TW, EVEN)
        y += yh
