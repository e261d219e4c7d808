"""One state through a tile of time, forwards and back: what both kernels spend their time in."""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_lanes import TRUNCATION, lane_sums, place
from .triton_tiles import beside, merged, read_projection, unpacked

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def advanced(delta, drive, A, B, C, h, y):
    """One state through a tile: the state after it, and y with what it adds. A: of powers of 2."""
    sums = ()
    for i in tl.static_range(len(delta)):
        h = tl.exp2(delta[i] * A) * h + drive[i] * B[i]
        sums = sums + (y[i] + h * C[i],)
    return h, sums


@triton.jit
def one_state(delta, drive, dy, A, B, C, h, g, dA, gB, dexponent, y):
    """One state through a tile and back.

    A: of powers of 2. h: before the tile. g: what enters from later times. Returns g before the
    tile, dA, gB, dexponent and y (empty if not wanted) with what this state adds, and of each
    channel what it adds to dB and to dC, time by time.
    """
    STEPS: tl.constexpr = len(delta)
    decay = ()
    states = (h,)
    for i in tl.static_range(STEPS):
        decay = decay + (tl.exp2(delta[i] * A),)
        h = decay[i] * h + drive[i] * B[i]
        states = states + (h,)
    sums_y = ()
    for i in tl.static_range(len(y)):
        sums_y = sums_y + (y[i] + states[i + 1] * C[i],)

    dB = ()
    dC = ()
    sums_gB = ()
    sums_dexponent = ()
    for i in tl.static_range(STEPS - 1, -1, -1):
        g += dy[i] * C[i]
        dB = (g * drive[i],) + dB
        dC = (dy[i] * states[i + 1],) + dC
        sums_gB = (gB[i] + g * B[i],) + sums_gB
        g *= decay[i]
        p = g * states[i]
        sums_dexponent = (dexponent[i] + p * A,) + sums_dexponent
        dA += p * delta[i]
    return g, dA, sums_gB, sums_dexponent, sums_y, dB, dC


@triton.jit
def store_sums(dB, dC, dB_ptr, dC_ptr, start, L, PRECISION: tl.constexpr):
    """The sums over the channels, by a product with ones, through shared memory."""
    tile = beside(merged(dB), merged(dC))  # (channels, 2 times)
    STEPS: tl.constexpr = tile.shape[1] // 2
    ones = tl.full((16, tile.shape[0]), 1.0, tl.float32)
    shares = tl.dot(ones, tile, input_precision=PRECISION)
    if PRECISION == "tf32":
        shares *= TRUNCATION
    column = tl.arange(0, 2 * STEPS)[None, :]
    time = start + column % STEPS
    at = tl.where(column < STEPS, dB_ptr, dC_ptr) + time + tl.zeros((16, 1), tl.int32)
    tl.store(at, shares, (tl.arange(0, 16)[:, None] == 0) & (time < L))


@triton.jit
def store_lane_sums(dB, dC, dB_ptr, dC_ptr, start, L, lane, s, PRECISION: tl.constexpr):
    """The same in registers, of one warp whose lanes have a channel each; returns what it stored.

    s: the selectors. Where one number is not finite, the sums of all times are not.
    """
    total = lane_sums(dB, dC, lane, s, PRECISION != "tf32")
    is_C, i = place(lane)
    tl.store(tl.where(is_C, dC_ptr, dB_ptr) + start + i, total, start + i < L)
    return total


@triton.jit
def states_in_memory(
    delta, drive, dy, gB, dexponent, y, A, h, g, dA, B, C, A_ptr, states_before,
    carry_in, carry_out, dconst_ptr, B_ptr, C_ptr, dB_ptr, dC_ptr,
    channel, is_channel, is_later, entered, kept, warp_lane, quads, start, dim, L,
    N, B_state, C_state, B_CONSTANT: tl.constexpr, C_CONSTANT: tl.constexpr, PAIRS: tl.constexpr,
    UNIT: tl.constexpr, PRECISION: tl.constexpr, IN_LANES: tl.constexpr,
):  # fmt: skip
    """All states through a tile and back; each is read from memory while the one before it is done.

    A, h, g, dA, B, C: of the first one. Returns gB, dexponent and y with what the states add, and
    zero or, where a sum in lanes was not finite, NaN.
    """
    STEPS: tl.constexpr = len(delta)
    spoilt = tl.zeros(delta[0].shape, tl.float32)  # NaN once a sum was not finite
    for n in range(tl.where(start < L, N, 0)):
        later = tl.minimum(n + 1, N - 1)
        at = later * dim + channel
        next_A = tl.load(A_ptr + at, is_channel, 0.0)
        next_h = tl.load(states_before + at, is_later, 0.0)
        next_g = tl.load(carry_in + at, entered, 0.0)
        next_dA = tl.load(dconst_ptr + at, kept, 0.0)
        B_at = B_ptr + later * B_state
        C_at = C_ptr + later * C_state
        next_B = read_projection(B_at, start, L, B_CONSTANT, PAIRS, UNIT, STEPS)
        next_C = read_projection(C_at, start, L, C_CONSTANT, PAIRS, UNIT, STEPS)
        B_now = unpacked(B, PAIRS)
        C_now = unpacked(C, PAIRS)
        g, dA, gB, dexponent, y, dB, dC = one_state(
            delta, drive, dy, A * LOG2_E, B_now, C_now, h, g, dA, gB, dexponent, y
        )
        tl.store(carry_out + n * dim + channel, g, is_channel)
        tl.store(dconst_ptr + n * dim + channel, dA, is_channel)
        dB_at = dB_ptr + n * L
        dC_at = dC_ptr + n * L
        if IN_LANES:
            total = store_lane_sums(dB, dC, dB_at, dC_at, start, L, warp_lane, quads, PRECISION)
            spoilt += total * 0.0
        else:
            store_sums(dB, dC, dB_at, dC_at, start, L, PRECISION)
        A = next_A
        h = next_h
        g = next_g
        dA = next_dA
        B = next_B
        C = next_C
    return gB, dexponent, y, spoilt


@triton.jit
def store_sums_anew(
    delta, drive, dy, A_ptr, states_before, carry_in, B_ptr, C_ptr, dB_ptr, dC_ptr,
    channel, is_channel, is_later, entered, start, dim, L, N, B_state, C_state,
    B_CONSTANT: tl.constexpr, C_CONSTANT: tl.constexpr, PAIRS: tl.constexpr, UNIT: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """A tile's dB and dC of all states once more, by store_sums: NaN stays at its time."""
    STEPS: tl.constexpr = len(delta)
    zero = tl.zeros(delta[0].shape, tl.float32)
    for n in range(N):
        at = n * dim + channel
        A = tl.load(A_ptr + at, is_channel, 0.0) * LOG2_E
        h = tl.load(states_before + at, is_later, 0.0)
        g = tl.load(carry_in + at, entered, 0.0)
        B = read_projection(B_ptr + n * B_state, start, L, B_CONSTANT, PAIRS, UNIT, STEPS)
        C = read_projection(C_ptr + n * C_state, start, L, C_CONSTANT, PAIRS, UNIT, STEPS)
        B_now = unpacked(B, PAIRS)
        C_now = unpacked(C, PAIRS)
        zeros = (zero,) * STEPS
        _, _, _, _, _, dB, dC = one_state(
            delta, drive, dy, A, B_now, C_now, h, g, zero, zeros, zeros, ()
        )
        store_sums(dB, dC, dB_ptr + n * L, dC_ptr + n * L, start, L, PRECISION)
