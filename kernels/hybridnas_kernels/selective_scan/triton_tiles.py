"""Maps (channels, times) in pieces and tiles: from memory to one vector of channels for each time.

A recurrence needs its times one after the other. Each thread holds all times of a tile for its
channels, so that taking a tile apart into times costs no instruction. Memory is read and written
64 bytes of a channel at once (several tiles): DRAM moves no less, and lines that are visited again
for the next 16 bytes have left the caches by then.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def load_pieces(
    pointer, channel, start, stride, is_channel, L,
    CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr, PIECE: tl.constexpr, TIMES: tl.constexpr,
):  # fmt: skip
    """TIMES times as tiles (channels, PIECE) in memory's type, zero outside.

    channel, is_channel: (channels, 1); stride: of the axis that is not innermost.
    """
    pieces = ()
    for first in tl.static_range(0, TIMES, PIECE):
        t = (start + first + tl.arange(0, PIECE))[None, :]
        at = pointer + offsets(channel, t, stride, CHANNELS_LAST, VECTOR)
        pieces = pieces + (tl.load(at, is_channel & (t < L), 0.0),)
    return pieces


@triton.jit
def store_pieces(
    pointer, pieces, channel, start, stride, is_channel, L,
    CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr, PIECE: tl.constexpr, TIMES: tl.constexpr,
):  # fmt: skip
    """Undoes load_pieces."""
    for first in tl.static_range(0, TIMES, PIECE):
        t = (start + first + tl.arange(0, PIECE))[None, :]
        at = pointer + offsets(channel, t, stride, CHANNELS_LAST, VECTOR)
        tl.store(at, pieces[first // PIECE], is_channel & (t < L))


@triton.jit
def times_of(pieces, tile: tl.constexpr, PIECE: tl.constexpr, STEPS: tl.constexpr):
    """The STEPS vectors (channels, 1) of a tile of time, in float32, from all pieces."""
    times = ()
    for i in tl.static_range(STEPS // PIECE):
        times = times + columns(pieces[tile * (STEPS // PIECE) + i].to(tl.float32))
    return times


@triton.jit
def pieces_of(times, TYPE: tl.constexpr, PIECE: tl.constexpr):
    """Undoes times_of for one tile."""
    pieces = ()
    for first in tl.static_range(0, len(times), PIECE):
        piece = ()
        for i in tl.static_range(PIECE):
            piece = piece + (times[first + i],)
        pieces = pieces + (merged(piece).to(TYPE),)
    return pieces


@triton.jit
def offsets(channel, time, stride, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr):
    """stride is a multiple of VECTOR; written like this, the compiler knows."""
    stride = stride // VECTOR * VECTOR
    return channel + time * stride if CHANNELS_LAST else channel * stride + time


@triton.jit
def projection(pointer, start, L, CONSTANT: tl.constexpr, PAIRS: tl.constexpr, STEPS: tl.constexpr):
    """B or C of one state at STEPS times: a tuple of (1, 1), float32.

    PAIRS: the 16-bit type of two neighbouring times that are read as one int32; halves what is
    loaded, and what waits in registers.
    """
    if PAIRS is None:
        time = start + tl.arange(0, STEPS)[None, :]
        at = time * 0 if CONSTANT else time
        times = columns(tl.load(pointer + at, time < L, 0.0).to(tl.float32))
    else:
        pair = tl.arange(0, STEPS // 2)[None, :]
        words = columns(tl.load(pointer + start // 2 + pair, start + 2 * pair < L, 0))
        times = ()
        for i in tl.static_range(STEPS // 2):
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
    """(R, M) with M = 1, 2, 4, 8, 16 -> M columns (R, 1), first one first."""
    parts = (tile,)
    if tile.shape[1] > 1:
        parts = _halved(parts)
    if tile.shape[1] > 2:
        parts = _halved(parts)
    if tile.shape[1] > 4:
        parts = _halved(parts)
    if tile.shape[1] > 8:
        parts = _halved(parts)
    return parts


@triton.jit
def _halved(parts):
    halves = ()
    for i in tl.static_range(len(parts)):
        halves = halves + _halves(parts[i])
    return halves


@triton.jit
def _halves(tile):
    R: tl.constexpr = tile.shape[0]
    M: tl.constexpr = tile.shape[1]
    left, right = tl.split(tl.permute(tl.reshape(tile, (R, 2, M // 2)), (0, 2, 1)))
    return (left, right)


@triton.jit
def merged(parts):
    """1, 2, 4, 8 or 16 columns (R, 1) -> (R, M): undoes `columns`."""
    if len(parts) > 1:
        parts = _paired(parts)
    if len(parts) > 1:
        parts = _paired(parts)
    if len(parts) > 1:
        parts = _paired(parts)
    if len(parts) > 1:
        parts = _paired(parts)
    return parts[0]


@triton.jit
def _paired(parts):
    pairs = ()
    for i in tl.static_range(len(parts) // 2):
        pairs = pairs + (beside(parts[2 * i], parts[2 * i + 1]),)
    return pairs


@triton.jit
def beside(left, right):
    """(R, M) and (R, M) -> (R, 2 M)."""
    R: tl.constexpr = left.shape[0]
    M: tl.constexpr = left.shape[1]
    return tl.reshape(tl.permute(tl.join(left, right), (0, 2, 1)), (R, 2 * M))
