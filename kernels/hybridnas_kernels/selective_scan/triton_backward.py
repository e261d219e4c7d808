"""The selective scan backward: a program walks back through time, a tile at a time."""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_lanes import lane_number, selectors
from .triton_states import LOG2_E, one_state, store_lane_sums, store_sums, store_sums_anew
from .triton_tiles import (
    columns,
    load_tile,
    products,
    read_projection,
    some,
    step_sizes,
    store_tile,
    unpacked,
)


@triton.jit(
    do_not_specialize=[
        "num_batch", "num_groups", "E", "L", "N", "u_batch", "u_row", "delta_batch", "delta_row",
        "z_batch", "z_row", "dout_batch", "dout_row", "du_batch", "du_row",
        "B_batch", "B_group", "B_state", "C_batch", "C_group", "C_state",
    ]
)  # fmt: skip
def scan_backward(
    u_ptr, delta_ptr, z_ptr, dout_ptr, du_ptr, ddelta_ptr, dz_ptr,  # (batch, G E, L)
    A_ptr,  # (N, G E)
    B_ptr, C_ptr,  # (batch, G, N, L)
    D_ptr, bias_ptr,  # (G E,)
    states_ptr,  # (tiles, batch, N, G E): the state after each tile, of the forward
    carry_ptr,  # (2, batch, N, G E): the gradient that enters an even and an odd tile from its end
    dconst_ptr,  # (batch, N + 2, G E): of A, D and bias, each batch entry's share
    dB_ptr, dC_ptr,  # (blocks, batch, G, N, L): each block of channels' share
    num_batch, num_groups, E, L, N,
    u_batch, u_row, delta_batch, delta_row, z_batch, z_row, dout_batch, dout_row, du_batch, du_row,
    B_batch, B_group, B_state, C_batch, C_group, C_state,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    HAS_DLAST: tl.constexpr, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr,
    B_CONSTANT: tl.constexpr, C_CONSTANT: tl.constexpr, PAIRS: tl.constexpr, UNIT: tl.constexpr,
    PRECISION: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr, TILES: tl.constexpr,
    HELD: tl.constexpr, STAGES: tl.constexpr, IN_LANES: tl.constexpr,
    STATE_STAGES: tl.constexpr,
):  # fmt: skip
    """A program: CHANNELS channels of one group of one batch entry, all times from the last.

    In a tile and for one n: the states again from the one before the tile, then their gradients
    backwards. What B and C get is summed over the program's channels by matrix products: a
    reduction by shuffles takes more instructions than all the rest.

    STATE_STAGES: 1: what the next state needs is read into registers. More: what the states up to
    one less ahead need, into shared memory (cp.async): no read in flight then shares a scoreboard
    with what the loop waits for. A tile writes nothing that it reads later.

    IN_LANES: a lane has one channel and nothing leaves registers for those sums. They are right as
    long as all are finite; a tile where one is not has its sums computed anew, the other way.
    """
    if CHANNELS_LAST:
        E = E // VECTOR * VECTOR  # a multiple of it, so the compiler knows
    else:
        L = L // VECTOR * VECTOR
    blocks = tl.cdiv(E, CHANNELS)
    block = tl.program_id(0) % blocks
    group = tl.program_id(0) // blocks % num_groups
    batch = (tl.program_id(0) // blocks // num_groups).to(tl.int64)
    lane = block * CHANNELS + tl.arange(0, CHANNELS)[:, None]
    dim = num_groups * E
    channel = group * E + lane
    is_channel = lane < E

    u_ptr += batch * (u_batch // VECTOR * VECTOR)
    delta_ptr += batch * (delta_batch // VECTOR * VECTOR)
    z_ptr += batch * (z_batch // VECTOR * VECTOR)
    dout_ptr += batch * (dout_batch // VECTOR * VECTOR)
    du_ptr += batch * (du_batch // VECTOR * VECTOR)
    ddelta_ptr += batch * (du_batch // VECTOR * VECTOR)
    dz_ptr += batch * (du_batch // VECTOR * VECTOR)
    B_state = B_state // UNIT * UNIT  # multiples of it, so that B and C are read 16 bytes at once
    C_state = C_state // UNIT * UNIT
    B_ptr += batch * (B_batch // UNIT * UNIT) + group * (B_group // UNIT * UNIT)
    C_ptr += batch * (C_batch // UNIT * UNIT) + group * (C_group // UNIT * UNIT)
    states_ptr += batch * N * dim
    slot = num_batch.to(tl.int64) * N * dim
    carry_ptr += batch * N * dim
    dconst_ptr += batch * (N + 2) * dim
    share = ((block * num_batch + batch) * num_groups + group) * N * L
    dB_ptr += share
    dC_ptr += share
    bias = tl.load(bias_ptr + channel, is_channel, 0.0).to(tl.float32) if HAS_BIAS else 0.0
    skip = tl.load(D_ptr + channel, is_channel, 0.0).to(tl.float32) if HAS_D else 0.0
    TIMES: tl.constexpr = TILES * STEPS
    dskip = tl.zeros((CHANNELS, 1), tl.float32)
    dbias = tl.zeros((CHANNELS, 1), tl.float32)
    zero = tl.zeros((CHANNELS, 1), tl.float32)
    if IN_LANES:
        warp_lane = lane_number(tl.arange(0, CHANNELS)[:, None])
        quads = selectors(warp_lane)
    last_tile = tl.cdiv(L, STEPS) - 1
    carries = ()
    As = ()
    dAs = ()
    for n in tl.static_range(HELD):
        at = n * dim + channel
        entering = tl.load(carry_ptr + last_tile % 2 * slot + at, is_channel & HAS_DLAST, 0.0)
        carries = carries + (entering,)
        As = As + (tl.load(A_ptr + at, is_channel, 0.0) * LOG2_E,)
        dAs = dAs + (zero,)

    num_chunks = tl.cdiv(L, TIMES)
    for back in tl.range(num_chunks, num_stages=STAGES):
        chunk = num_chunks - 1 - back
        begin = chunk * TIMES
        u_tile = load_tile(
            u_ptr, channel, begin, u_row, is_channel, L, CHANNELS_LAST, VECTOR, TIMES
        )
        dout_tile = load_tile(
            dout_ptr, channel, begin, dout_row, is_channel, L, CHANNELS_LAST, VECTOR, TIMES
        )
        raw_tile = load_tile(
            delta_ptr, channel, begin, delta_row, is_channel, L, CHANNELS_LAST, VECTOR, TIMES
        )
        if HAS_Z:
            z_tile = load_tile(
                z_ptr, channel, begin, z_row, is_channel, L, CHANNELS_LAST, VECTOR, TIMES
            )
        Bs = ()
        Cs = ()
        starts = ()
        for n in tl.static_range(HELD):
            B = read_projection(B_ptr + n * B_state, begin, L, B_CONSTANT, PAIRS, UNIT, TIMES)
            C = read_projection(C_ptr + n * C_state, begin, L, C_CONSTANT, PAIRS, UNIT, TIMES)
            Bs = Bs + (unpacked(B, PAIRS),)
            Cs = Cs + (unpacked(C, PAIRS),)
            hs = ()
            for tile in tl.static_range(TILES):
                now = chunk * TILES + tile
                there = is_channel & (now > 0) & (now * STEPS < L)
                hs = hs + (tl.load(states_ptr + (now - 1) * slot + n * dim + channel, there, 0.0),)
            starts = starts + (hs,)
        us = columns(u_tile)
        douts = columns(dout_tile)
        raws = columns(raw_tile)
        if HAS_Z:
            zs = columns(z_tile)
        all_du = ()
        all_ddelta = ()
        all_dz = ()
        for tile in tl.static_range(TILES - 1, -1, -1):
            start = begin + tile * STEPS
            number = chunk * TILES + tile
            states_before = states_ptr + (number - 1) * slot
            carry_in = carry_ptr + number % 2 * slot
            carry_out = carry_ptr + (number + 1) % 2 * slot
            is_last = start + STEPS >= L  # the first one to be done
            entered = is_channel if HAS_DLAST else is_channel & (not is_last)
            kept = is_channel & (not is_last)
            is_later = is_channel & (start > 0)
            if HELD == 0 and STATE_STAGES == 1:  # of the first state, long before it is needed
                A = tl.load(A_ptr + channel, is_channel, 0.0)
                h = tl.load(states_before + channel, is_later, 0.0)
                g = tl.load(carry_in + channel, entered, 0.0)
                dA = tl.load(dconst_ptr + channel, kept, 0.0)
                B = read_projection(B_ptr, start, L, B_CONSTANT, PAIRS, UNIT, STEPS)
                C = read_projection(C_ptr, start, L, C_CONSTANT, PAIRS, UNIT, STEPS)
            u = some(us, tile * STEPS, STEPS)
            dy = some(douts, tile * STEPS, STEPS)
            y = ()
            if HAS_Z:
                dout = dy
                z = some(zs, tile * STEPS, STEPS)
                dy = ()
                for i in tl.static_range(STEPS):
                    y = y + (u[i] * skip,)
                    dy = dy + (dout[i] * z[i] * tl.sigmoid(z[i]),)
            if HAS_D:
                for i in tl.static_range(STEPS):
                    dskip += dy[i] * u[i]
            raw = some(raws, tile * STEPS, STEPS)
            delta = step_sizes(raw, bias, start, is_channel, L, SOFTPLUS)
            drive = products(delta, u)
            gB = (zero,) * STEPS  # the sum over n of g[t] B[t]
            dexponent = (zero,) * STEPS  # the sum over n of A d(loss)/d(delta[t] A)
            if HELD > 0:
                carries_before = ()
                dA_so_far = ()
                for n in tl.static_range(HELD):
                    B = some(Bs[n], tile * STEPS, STEPS)
                    C = some(Cs[n], tile * STEPS, STEPS)
                    h = starts[n][tile]
                    g, dA, gB, dexponent, y, dB, dC = one_state(
                        delta, drive, dy, As[n], B, C, h, carries[n], dAs[n], gB, dexponent, y
                    )
                    carries_before = carries_before + (g,)
                    dA_so_far = dA_so_far + (dA,)
                    store_sums(dB, dC, dB_ptr + n * L, dC_ptr + n * L, start, L, PRECISION)
                carries = carries_before
                dAs = dA_so_far
            else:
                spoilt = zero  # NaN once a sum was not finite
                for n in tl.range(tl.where(start < L, N, 0), num_stages=STATE_STAGES):
                    later = tl.minimum(n + 1, N - 1) if STATE_STAGES == 1 else n
                    at = later * dim + channel
                    next_A = tl.load(A_ptr + at, is_channel, 0.0)
                    next_h = tl.load(states_before + at, is_later, 0.0)
                    next_g = tl.load(carry_in + at, entered, 0.0)
                    next_dA = tl.load(dconst_ptr + at, kept, 0.0)
                    B_at = B_ptr + later * B_state
                    C_at = C_ptr + later * C_state
                    next_B = read_projection(B_at, start, L, B_CONSTANT, PAIRS, UNIT, STEPS)
                    next_C = read_projection(C_at, start, L, C_CONSTANT, PAIRS, UNIT, STEPS)
                    if STATE_STAGES > 1:  # read ahead all the same, by the compiler
                        A = next_A
                        h = next_h
                        g = next_g
                        dA = next_dA
                        B = next_B
                        C = next_C
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
                        total = store_lane_sums(
                            dB, dC, dB_at, dC_at, start, L, warp_lane, quads, PRECISION
                        )
                        spoilt += total * 0.0
                    else:
                        store_sums(dB, dC, dB_at, dC_at, start, L, PRECISION)
                    if STATE_STAGES == 1:
                        A = next_A
                        h = next_h
                        g = next_g
                        dA = next_dA
                        B = next_B
                        C = next_C
                if IN_LANES and tl.max((spoilt != 0.0).to(tl.int32)) != 0:
                    tl.debug_barrier()  # the sums are written over
                    store_sums_anew(
                        delta, drive, dy, A_ptr, states_before, carry_in, B_ptr, C_ptr, dB_ptr,
                        dC_ptr, channel, is_channel, is_later, entered, start, dim, L, N, B_state,
                        C_state, B_CONSTANT, C_CONSTANT, PAIRS, UNIT, PRECISION,
                    )  # fmt: skip
                # read again, instead of kept in registers through all states
                again = load_tile(
                    u_ptr, channel, start, u_row, is_channel, L, CHANNELS_LAST, VECTOR, STEPS
                )
                u = some(columns(again), 0, STEPS)
                again = load_tile(
                    delta_ptr, channel, start, delta_row, is_channel, L,
                    CHANNELS_LAST, VECTOR, STEPS,
                )  # fmt: skip
                raw = some(columns(again), 0, STEPS)

            du = ()
            ddelta = ()
            for i in tl.static_range(STEPS):
                du = du + ((gB[i] * delta[i] + skip * dy[i]).to(du_ptr.dtype.element_ty),)
                d = dexponent[i] * (1.0 / LOG2_E) + gB[i] * u[i]
                if SOFTPLUS:
                    d *= tl.sigmoid(raw[i] + bias)
                d = tl.where(is_channel & (start + i < L), d, 0.0)
                ddelta = ddelta + (d.to(ddelta_ptr.dtype.element_ty),)
                dbias += d
            all_du = du + all_du
            all_ddelta = ddelta + all_ddelta
            if HAS_Z:
                dz = ()
                for i in tl.static_range(STEPS):
                    gate = tl.sigmoid(z[i])
                    d = dout[i] * y[i] * gate * (1.0 + z[i] * (1.0 - gate))
                    dz = dz + (d.to(dz_ptr.dtype.element_ty),)
                all_dz = dz + all_dz
            if HELD == 0:
                tl.debug_barrier()  # what other threads of this program stored is read next
        store_tile(du_ptr, all_du, channel, begin, du_row, is_channel, L, CHANNELS_LAST, VECTOR)
        store_tile(
            ddelta_ptr, all_ddelta, channel, begin, du_row, is_channel, L, CHANNELS_LAST, VECTOR
        )
        if HAS_Z:
            store_tile(dz_ptr, all_dz, channel, begin, du_row, is_channel, L, CHANNELS_LAST, VECTOR)
    for n in tl.static_range(HELD):
        tl.store(dconst_ptr + n * dim + channel, dAs[n], is_channel)
    if HAS_D:
        tl.store(dconst_ptr + N * dim + channel, dskip, is_channel)
    if HAS_BIAS:
        tl.store(dconst_ptr + (N + 1) * dim + channel, dbias, is_channel)
