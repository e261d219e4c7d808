"""The depthwise convolution on the tensor cores, for 16-bit maps whose channels come in eights.

A channel's row of 16 images (the M of a product) and 16 columns (its K) times a banded matrix of a
row of taps (16 x 8) makes 8 columns of output of these images. A program owns CHANNELS channels of
such a strip and walks down the rows; each of its warps owns a few neighbouring channels.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def channels_first(tile, M: tl.constexpr, WARPS: tl.constexpr):
    """(N * M, channels) to the factors (channels, M, N) of products.

    Products of warp w are numbers i * WARPS + w; they get neighbouring channels, which one access
    to shared memory reads.
    """
    EACH: tl.constexpr = tile.shape[1] // WARPS
    N: tl.constexpr = tile.shape[0] // M
    parts = tl.permute(tl.reshape(tile, (N, M, WARPS, EACH)), (3, 2, 1, 0))
    return tl.reshape(parts, (EACH * WARPS, M, N))


@triton.jit
def channels_last(products, WARPS: tl.constexpr):
    """Undoes channels_first."""
    EACH: tl.constexpr = products.shape[0] // WARPS
    M: tl.constexpr = products.shape[1]
    N: tl.constexpr = products.shape[2]
    parts = tl.permute(tl.reshape(products, (EACH, WARPS, M, N)), (3, 2, 1, 0))
    return tl.reshape(parts, (N * M, WARPS * EACH))


@triton.jit
def channel_of(product, CHANNELS: tl.constexpr, WARPS: tl.constexpr):
    """The channel of a product, counted from the program's first."""
    return (product % WARPS) * (CHANNELS // WARPS) + product // WARPS


@triton.jit
def band(weight, c0, C, ky: tl.constexpr, K: tl.constexpr, FLIP: tl.constexpr,
         CHANNELS: tl.constexpr, COLUMNS: tl.constexpr, TW: tl.constexpr, WARPS: tl.constexpr,
         dtype: tl.constexpr):  # fmt: skip
    """(channels, COLUMNS, TW): at (column, output) tap `column - output` of row ky, else 0; of
    taps turned by 180 degrees if FLIP.

    Loaded as one matrix, whose rows are (half of the outputs, channel, output): in this order
    shared memory keeps the outputs of a channel together, so that reading a product's factor, as
    is done for each row of the map, meets no conflicts of banks (it met eight-fold ones before).
    """
    HALF: tl.constexpr = TW // 2
    row = tl.arange(0, CHANNELS * TW)
    c = c0 + channel_of(row // HALF % CHANNELS, CHANNELS, WARPS)
    output = row // (HALF * CHANNELS) * HALF + row % HALF
    if FLIP:  # columns are counted from the right, so that taps follow them here too
        kx = tl.arange(0, COLUMNS)[None, :] + output[:, None] - (TW - 1)
        tap = (K - 1 - ky) * K + kx
    else:
        kx = tl.arange(0, COLUMNS)[None, :] - output[:, None]
        tap = ky * K + kx
    inside = (kx >= 0) & (kx < K) & (c < C)[:, None]
    taps = tl.load(weight + (c * (K * K))[:, None] + tap, mask=inside, other=0.0).to(dtype)
    taps = tl.permute(tl.reshape(taps, (2, CHANNELS, HALF, COLUMNS)), (1, 3, 0, 2))
    return tl.reshape(taps, (CHANNELS, COLUMNS, TW))


@triton.jit
def poison(sums):
    """0 where sums are finite, else NaN; for a quarter of them each, those of one thread."""
    parts = tl.reshape(sums, (sums.shape[0], 2, sums.shape[1] // 2, sums.shape[2] // 2, 2))
    return tl.sum(tl.sum(parts, 4), 1) * 0.0


@triton.jit
def conv_tap_by_tap(x, weight, bias, y, h0, h1, H, W, C, xh, xw, yh, yw, c, col, ok,
                    K: tl.constexpr, FLIP: tl.constexpr, HAS_BIAS: tl.constexpr):  # fmt: skip
    """Rows h0 to h1 of y at columns col, (pixels,), of images that start at x and y, (pixels, 1).

    Slow, and exact also where numbers are not finite.
    """
    P: tl.constexpr = K // 2
    x_row = x + (h0 - P).to(tl.int64) * xh
    y_at = y + h0.to(tl.int64) * yh + (col * yw)[:, None] + c[None, :]
    for h in range(h0, h1):
        total = tl.zeros(ok.shape, tl.float32)
        if HAS_BIAS:
            total += tl.load(bias + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
        x_at = x_row
        for down in range(K):
            for right in range(K):
                tap_at = down * K + right
                if FLIP:
                    tap_at = K * K - 1 - tap_at
                tap = tl.load(weight + c * (K * K) + tap_at, mask=c < C, other=0.0).to(tl.float32)
                row, source = h + down - P, col + (right - P)
                seen = ok & ((source >= 0) & (source < W) & (row >= 0) & (row < H))[:, None]
                at = x_at + ((source * xw)[:, None] + c[None, :])
                total += tl.load(at, mask=seen, other=0.0).to(tl.float32) * tap[None, :]
            x_at += xh
        tl.store(y_at, total.to(y.dtype.element_ty), mask=ok)
        x_row += xh
        y_at += yh


@triton.jit(
    do_not_specialize=[
        *("B", "H", "W", "eights", "num_strips", "segment", "num_groups"),
        *("xb", "xh", "xw", "yb", "yh", "yw"),
    ]
)
def conv_kernel(
    x,  # (B, H, W, C), 16 bits, with strides 8 xb, 8 xh, 8 xw, 1; aligned to 16 bytes, as y
    weight,  # (C, K, K)
    bias,  # (C,), read if HAS_BIAS
    y,  # (B, H, W, C) with strides 8 yb, 8 yh, 8 yw, 1
    B,
    H,
    W,
    eights,  # C / 8
    num_strips,  # of TW columns, the last one possibly less
    segment,  # rows of y that a program makes
    num_groups,  # of IMAGES images
    xb,
    xh,
    xw,
    yb,
    yh,
    yw,
    K: tl.constexpr,
    FLIP: tl.constexpr,  # taps turned by 180 degrees: y is the gradient of x
    HAS_BIAS: tl.constexpr,
    CHANNELS: tl.constexpr,
    IMAGES: tl.constexpr,
    COLUMNS: tl.constexpr,  # of x in a product, at least TW + K - 1
    TW: tl.constexpr,
    WARPS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """K rows of sums, acc[i] for row r - P + i of y while row r of x is multiplied by K bands.

    A number that is not finite makes NaN of its row in the whole strip, as products with the
    band's zeros: where there is one, the program computes its part again, tap by tap.
    """
    P: tl.constexpr = K // 2
    C = eights * 8
    num_blocks = tl.cdiv(C, CHANNELS)
    pid = tl.program_id(0)
    c0 = (pid % num_blocks) * CHANNELS
    pid = pid // num_blocks
    col0 = (pid % num_strips) * TW
    pid = pid // num_strips
    b0 = (pid % num_groups) * IMAGES
    h0 = (pid // num_groups) * segment
    h1 = min(h0 + segment, H)
    c = c0 + tl.arange(0, CHANNELS)

    bands = ()
    for ky in tl.static_range(K):
        bands += (
            band(weight, c0, C, ky, K, FLIP, CHANNELS, COLUMNS, TW, WARPS, x.dtype.element_ty),
        )
    if HAS_BIAS:
        product_c = c0 + channel_of(tl.arange(0, CHANNELS), CHANNELS, WARPS)
        start = tl.load(bias + product_c, mask=product_c < C, other=0.0).to(tl.float32)
    else:
        start = tl.zeros((CHANNELS,), tl.float32)
    start = tl.broadcast_to(start[:, None, None], (CHANNELS, IMAGES, TW))
    acc = ()
    for _i in tl.static_range(K):
        acc += (start,)

    lo = max(h0 - P, 0)  # rows of x; those outside the map would add nothing
    hi = min(h1 + P, H)
    pixel = tl.arange(0, COLUMNS * IMAGES)  # images are fastest: fewest conflicts of banks
    from_left = pixel // IMAGES
    if FLIP:
        from_left = TW + K - 2 - from_left
    col = col0 - P + from_left
    inside = (
        (col >= 0)
        & (col < W)
        & (from_left >= 0)
        & (from_left < TW + K - 1)
        & (b0 + pixel % IMAGES < B)
    )
    inside = inside[:, None] & (c < C)[None, :]
    image = (b0 + pixel % IMAGES).to(tl.int64)
    x_at = x + (image * (xb * 8))[:, None] + ((col * (xw * 8))[:, None] + c[None, :])
    x_at += lo.to(tl.int64) * (xh * 8)
    pixel = tl.arange(0, TW * IMAGES)
    col = col0 + pixel // IMAGES
    image = (b0 + pixel % IMAGES).to(tl.int64)
    ok = ((col < W) & (b0 + pixel % IMAGES < B))[:, None] & (c < C)[None, :]
    y_image = y + (image * (yb * 8))[:, None]
    y_at = y_image + ((col * (yw * 8))[:, None] + c[None, :]) + (lo - P).to(tl.int64) * (yh * 8)

    spoilt = tl.zeros((CHANNELS, IMAGES // 2, TW // 2), tl.float32)
    for r in tl.range(lo, hi, num_stages=STAGES):
        row = channels_first(tl.load(x_at, mask=inside, other=0.0), IMAGES, WARPS)
        x_at += xh * 8
        sums = ()
        for i in tl.static_range(K):
            sums += (tl.dot(row, bands[K - 1 - i], acc[i]),)
        spoilt += poison(sums[0])
        out = channels_last(sums[0].to(y.dtype.element_ty), WARPS)
        tl.store(y_at, out, mask=ok & (r - P >= h0))
        y_at += yh * 8
        acc = ()
        for i in tl.static_range(1, K):
            acc += (sums[i],)
        acc += (start,)
    for i in tl.static_range(P):
        done = hi - P + i
        spoilt += poison(acc[i])
        out = channels_last(acc[i].to(y.dtype.element_ty), WARPS)
        tl.store(y_at, out, mask=ok & (done >= h0) & (done < h1))
        y_at += yh * 8
    if tl.max(tl.reshape((spoilt != 0.0).to(tl.int32), (CHANNELS * IMAGES * TW // 4,)), 0) > 0:
        x_image = x + (image * (xb * 8))[:, None]
        conv_tap_by_tap(x_image, weight, bias, y_image, h0, h1, H, W, C, xh * 8, xw * 8, yh * 8,
                        yw * 8, c, col, ok, K, FLIP, HAS_BIAS)  # fmt: skip
