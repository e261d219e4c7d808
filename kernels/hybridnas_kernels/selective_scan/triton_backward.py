"""The selective scan backward: a program walks back through time, a tile at a time."""

from __future__ import annotations

import triton
import triton.language as tl

from ..triton_lanes import lane_number, selectors
from .triton_shared import (
    BYTES,
    KEPT,
    all_states,
    arrived,
    filled,
    of_tile,
    pairs_to_copy,
    reserved,
    store_gradients,
)
from .triton_states import LOG2_E, one_state, states_in_memory, store_sums, store_sums_anew
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
    IN_SHARED: tl.constexpr,
):  # fmt: skip
    """A program: CHANNELS channels of one group of one batch entry, all times from the last.

    In a tile and for one n: the states again from the one before the tile, then their gradients
    backwards. What B and C get is summed over the program's channels by matrix products: a
    reduction by shuffles takes more instructions than all the rest.

    IN_LANES: a lane has one channel and nothing leaves registers for those sums. They are right as
    long as all are finite; a tile where one is not has its sums computed anew, the other way.

    IN_SHARED: what a state needs lies in shared memory (triton_shared.py). Then carry_ptr serves
    only before the last tile and where sums are computed anew.
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
    warp_lane = lane_number(tl.arange(0, CHANNELS)[:, None]) if IN_LANES else 0
    quads = selectors(warp_lane) if IN_LANES else ()
    last_tile = tl.cdiv(L, STEPS) - 1
    if IN_SHARED:
        place = reserved(N, BYTES)
        pairs_ptr, pairs_state = pairs_to_copy(B_ptr, C_ptr, B_state, C_state, warp_lane)
        filled(
            place, warp_lane, A_ptr, carry_ptr + last_tile % 2 * slot,
            states_ptr + (last_tile - 1) * slot, pairs_ptr, pairs_state, channel, is_channel,
            is_channel & (last_tile > 0), is_channel & HAS_DLAST, last_tile, L, dim, N,
        )  # fmt: skip
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
            if HELD == 0 and not IN_SHARED:  # of the first state, long before it is needed
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
            elif IN_SHARED:
                gB, dexponent, y, spoilt = all_states(
                    delta, drive, dy, gB, dexponent, y, place, warp_lane, quads,
                    states_ptr + channel, pairs_ptr, pairs_state, dB_ptr, dC_ptr, is_channel,
                    number, slot, start, dim, L, N, PAIRS, PRECISION,
                )  # fmt: skip
            else:
                gB, dexponent, y, spoilt = states_in_memory(
                    delta, drive, dy, gB, dexponent, y, A, h, g, dA, B, C, A_ptr, states_before,
                    carry_in, carry_out, dconst_ptr, B_ptr, C_ptr, dB_ptr, dC_ptr,
                    channel, is_channel, is_later, entered, kept, warp_lane, quads, start, dim, L,
                    N, B_state, C_state, B_CONSTANT, C_CONSTANT, PAIRS, UNIT, PRECISION, IN_LANES,
                )  # fmt: skip
            if HELD == 0:
                if IN_LANES and tl.max((spoilt != 0.0).to(tl.int32)) != 0:
                    if IN_SHARED:
                        entering = of_tile(place, number) + arrived(number)
                        store_gradients(entering, warp_lane, carry_in + channel, is_channel, dim, N)
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
            if HELD == 0 and not IN_SHARED:
                tl.debug_barrier()  # what other threads of this program stored is read next
        store_tile(du_ptr, all_du, channel, begin, du_row, is_channel, L, CHANNELS_LAST, VECTOR)
        store_tile(
            ddelta_ptr, all_ddelta, channel, begin, du_row, is_channel, L, CHANNELS_LAST, VECTOR
        )
        if HAS_Z:
            store_tile(dz_ptr, all_dz, channel, begin, du_row, is_channel, L, CHANNELS_LAST, VECTOR)
    if IN_SHARED:
        own = place + KEPT + arrived(N)
        store_gradients(own, warp_lane, dconst_ptr + channel, is_channel, dim, N)
    for n in tl.static_range(HELD):
        tl.store(dconst_ptr + n * dim + channel, dAs[n], is_channel)
    if HAS_D:
        tl.store(dconst_ptr + N * dim + channel, dskip, is_channel)
    if HAS_BIAS:
        tl.store(dconst_ptr + (N + 1) * dim + channel, dbias, is_channel)
