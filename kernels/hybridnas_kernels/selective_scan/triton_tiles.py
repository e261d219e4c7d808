"""Tiles of (channels, times): how they lie in memory, and taken apart into single times.

A recurrence needs its times one after the other. A tile of 16 times that one thread holds is cut
into 16 vectors of channels, which costs no instruction; the compiler moves a tile there through
shared memory, once a tile.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def offsets(channel, time, stride, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr):
    """Offsets (channels, times) into a map whose other axis has stride 1.

    stride is a multiple of VECTOR; written like this, the compiler knows it and loads VECTOR
    numbers at once.
    """
    stride = stride // VECTOR * VECTOR
    if CHANNELS_LAST:
        return channel[:, None] + time[None, :] * stride
    return channel[:, None] * stride + time[None, :]


@triton.jit
def projection(pointer, start, L, CONSTANT: tl.constexpr, PAIRS: tl.constexpr):
    """B or C of one state at 16 times: a tuple of (1, 1), float32.

    PAIRS: the 16-bit type of two neighbouring times that are read as one int32; halves what is
    loaded, and what waits in registers.
    """
    if PAIRS is None:
        time = start + tl.arange(0, 16)[None, :]
        at = time * 0 if CONSTANT else time
        times = columns(tl.load(pointer + at, time < L, 0.0).to(tl.float32), 4)
    else:
        pair = tl.arange(0, 8)[None, :]
        words = columns(tl.load(pointer + start // 2 + pair, start + 2 * pair < L, 0), 3)
        times = ()
        for i in tl.static_range(8):
            times = times + _both(words[i], PAIRS)
    return times


@triton.jit
def _both(word, TYPE: tl.constexpr):
    """The two 16-bit numbers in an int32, first one (the lower half) first, as float32."""
    if TYPE == tl.bfloat16:  # the upper half of a float32
        first = (word << 16).to(tl.float32, bitcast=True)
        second = (word & -65536).to(tl.float32, bitcast=True)
    else:
        first = word.to(tl.int16).to(TYPE, bitcast=True).to(tl.float32)
        second = (word >> 16).to(tl.int16).to(TYPE, bitcast=True).to(tl.float32)
    return (first, second)


@triton.jit
def softplus(x):
    """log(1 + exp(x)) = max(x, 0) + log(1 + e) with e = exp(-|x|), accurate where it is tiny.

    log(1 + e) / e on [0, 1] by a polynomial (Chebyshev, relative error 4e-8): a quarter of the
    instructions of tl.log, and no loss where e is small.
    """
    e = tl.exp2(-1.4426950408889634 * tl.abs(x))
    p = -0.135906 + e * (0.07738074 + e * (-0.02899196 + e * 0.00510583))
    p = 0.33317934 + e * (-0.24833945 + e * (0.1907131 + e * p))
    return tl.maximum(x, 0.0) + e * (0.99999997 + e * (-0.49999436 + e * p))


@triton.jit
def step_size(raw, bias, inside, SOFTPLUS: tl.constexpr):
    """delta (channels, times) of the raw one; zero outside, where the state then stays."""
    raw = raw.to(tl.float32) + bias
    return tl.where(inside, softplus(raw) if SOFTPLUS else raw, 0.0)


@triton.jit
def columns(tile, HALVINGS: tl.constexpr):
    """(R, 2**HALVINGS) -> that many columns (R, 1), first one first."""
    parts = (tile,)
    for _ in tl.static_range(HALVINGS):
        halves = ()
        for i in tl.static_range(len(parts)):
            halves = halves + _halves(parts[i])
        parts = halves
    return parts


@triton.jit
def _halves(tile):
    R: tl.constexpr = tile.shape[0]
    M: tl.constexpr = tile.shape[1]
    left, right = tl.split(tl.permute(tl.reshape(tile, (R, 2, M // 2)), (0, 2, 1)))
    return (left, right)


@triton.jit
def merged(parts):
    """16 columns (R, 1) -> (R, 16): undoes `columns`."""
    for _ in tl.static_range(4):
        pairs = ()
        for i in tl.static_range(len(parts) // 2):
            pairs = pairs + (beside(parts[2 * i], parts[2 * i + 1]),)
        parts = pairs
    return parts[0]


@triton.jit
def beside(left, right):
    """(R, M) and (R, M) -> (R, 2 M)."""
    R: tl.constexpr = left.shape[0]
    M: tl.constexpr = left.shape[1]
    return tl.reshape(tl.permute(tl.join(left, right), (0, 2, 1)), (R, 2 * M))
