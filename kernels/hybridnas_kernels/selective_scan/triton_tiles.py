"""Maps (channels, times) from memory to one vector of channels for each time, and back.

A recurrence needs its times one after the other. Each thread computes all times of a tile for its
channels, so that taking a tile apart into times costs no instruction; on its way from memory it
changes hands, since neighbouring lanes should read neighbouring bytes.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_tile(
    pointer, channel, start, stride, is_channel, L,
    CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr, TIMES: tl.constexpr,
):  # fmt: skip
    """(channels, TIMES) in memory's type, zero outside.

    channel, is_channel: (channels, 1); stride: of the axis that is not innermost.
    """
    t = (start + tl.arange(0, TIMES))[None, :]
    at = pointer + offsets(channel, t, stride, CHANNELS_LAST, VECTOR)
    return tl.load(at, is_channel & (t < L), 0.0)


@triton.jit
def store_tile(
    pointer, times, channel, start, stride, is_channel, L,
    CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr,
):  # fmt: skip
    """Vectors (channels, 1) of times, to where load_tile would read them."""
    t = (start + tl.arange(0, len(times)))[None, :]
    at = pointer + offsets(channel, t, stride, CHANNELS_LAST, VECTOR)
    tile = merged(times).to(pointer.dtype.element_ty)
    tl.store(at, tile, is_channel & (t < L))


@triton.jit
def some(times, first: tl.constexpr, STEPS: tl.constexpr):
    """STEPS of the columns from the one numbered first on, in float32."""
    found = ()
    for i in tl.static_range(STEPS):
        found = found + (times[first + i].to(tl.float32),)
    return found


@triton.jit
def offsets(channel, time, stride, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr):
    """stride is a multiple of VECTOR; written like this, the compiler knows."""
    stride = stride // VECTOR * VECTOR
    return channel + time * stride if CHANNELS_LAST else channel * stride + time


@triton.jit
def read_projection(
    pointer, start, L,
    CONSTANT: tl.constexpr, PAIRS: tl.constexpr, UNIT: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """B or C of one state at STEPS times, as a tuple of (1, 1) as they lie in memory.

    PAIRS: the 16-bit type of two neighbouring times that are read as one int32; halves what is
    loaded, and what waits in registers. UNIT: what divides L and the strides, in such pairs.
    start: a multiple of STEPS.
    """
    if PAIRS is None:
        time = start + tl.arange(0, STEPS)[None, :]
        at = time * 0 if CONSTANT else time
        return neighbours(tl.load(pointer + at, time < L, 0.0))
    else:
        pair = tl.arange(0, STEPS // 2)[None, :]
        num_pairs = L // (2 * UNIT) * UNIT
        pair += start // STEPS * (STEPS // 2)  # so written that its divisor is known
        return neighbours(tl.load(pointer + pair, pair < num_pairs, 0))


@triton.jit
def unpacked(words, PAIRS: tl.constexpr):
    """What read_projection returned, one a time, float32."""
    times = ()
    for i in tl.static_range(len(words)):
        if PAIRS is None:
            times = times + (words[i].to(tl.float32),)
        else:
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
def step_sizes(raw, bias, start, is_channel, L, SOFTPLUS: tl.constexpr):
    """delta of the raw ones, time by time; zero outside, where the state then stays."""
    deltas = ()
    for i in tl.static_range(len(raw)):
        delta = raw[i] + bias
        if SOFTPLUS:
            delta = softplus(delta)
        deltas = deltas + (tl.where(is_channel & (start + i < L), delta, 0.0),)
    return deltas


@triton.jit
def products(a, b):
    """a[i] * b[i] of two tuples."""
    times = ()
    for i in tl.static_range(len(a)):
        times = times + (a[i] * b[i],)
    return times


@triton.jit
def columns(tile):
    """(R, M), M a power of two -> a tuple of M columns (R, 1), first one first.

    Halves are parted first: of a row that lies in several lanes, that asks for one change of
    layout, of the whole tile.
    """
    if tile.shape[1] == 1:
        return (tile,)
    else:
        R: tl.constexpr = tile.shape[0]
        M: tl.constexpr = tile.shape[1]
        left, right = tl.split(tl.permute(tl.reshape(tile, (R, 2, M // 2)), (0, 2, 1)))
        return columns(left) + columns(right)


@triton.jit
def neighbours(tile):
    """As `columns`, of a tile whose rows lie in one lane each: it is read as it lies in memory."""
    if tile.shape[1] == 1:
        return (tile,)
    else:
        R: tl.constexpr = tile.shape[0]
        M: tl.constexpr = tile.shape[1]
        even, odd = tl.split(tl.reshape(tile, (R, M // 2, 2)))
        evens = neighbours(even)
        odds = neighbours(odd)
        parts = ()
        for i in tl.static_range(M // 2):
            parts = parts + (evens[i], odds[i])
        return parts


@triton.jit
def merged(parts):
    """M columns (R, 1) -> (R, M): undoes `columns`."""
    if len(parts) == 1:
        return parts[0]
    else:
        pairs = ()
        for i in tl.static_range(len(parts) // 2):
            pairs = pairs + (beside(parts[2 * i], parts[2 * i + 1]),)
        return merged(pairs)


@triton.jit
def beside(left, right):
    """(R, M) and (R, M) -> (R, 2 M)."""
    R: tl.constexpr = left.shape[0]
    M: tl.constexpr = left.shape[1]
    return tl.reshape(tl.permute(tl.join(left, right), (0, 2, 1)), (R, 2 * M))
