"""The selective scan forward: a program walks through time with the channels of one group."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_states import LOG2_E, advanced
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
        "num_batch",
        "num_groups",
        "E",
        "L",
        "N",
        "u_batch",
        "u_row",
        "delta_batch",
        "delta_row",
        "z_batch",
        "z_row",
        "out_batch",
        "out_row",
        "B_batch",
        "B_group",
        "B_state",
        "C_batch",
        "C_group",
        "C_state",
    ]
)
def scan_forward(
    u_ptr, delta_ptr, z_ptr, out_ptr,  # (batch, G E, L); batch stride and row stride below
    A_ptr,  # (N, G E)
    B_ptr, C_ptr,  # (batch, G, N, L)
    D_ptr, bias_ptr,  # (G E,)
    states_ptr,  # (tiles or 1, batch, N, G E): the state after each tile, or after the last
    num_batch, num_groups, E, L, N,
    u_batch, u_row, delta_batch, delta_row, z_batch, z_row, out_batch, out_row,
    B_batch, B_group, B_state, C_batch, C_group, C_state,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    SAVE: tl.constexpr, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr,
    B_CONSTANT: tl.constexpr, C_CONSTANT: tl.constexpr, PAIRS: tl.constexpr, UNIT: tl.constexpr,
    CHANNELS: tl.constexpr, STEPS: tl.constexpr, TILES: tl.constexpr, HELD: tl.constexpr,
    UNROLL: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """A program: CHANNELS channels of one group of one batch entry, all times.

    HELD: N, if the states are so few that they stay in registers. Otherwise they lie in states_ptr
    between tiles: a loop over n then takes any number of states, and what the backward wants to
    keep is already written. What a state needs is read while the one before it is computed.
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
    out_ptr += batch * (out_batch // VECTOR * VECTOR)
    z_ptr += batch * (z_batch // VECTOR * VECTOR)
    B_state = B_state // UNIT * UNIT  # multiples of it, so that B and C are read 16 bytes at once
    C_state = C_state // UNIT * UNIT
    B_ptr += batch * (B_batch // UNIT * UNIT) + group * (B_group // UNIT * UNIT)
    C_ptr += batch * (C_batch // UNIT * UNIT) + group * (C_group // UNIT * UNIT)
    states_ptr += batch * N * dim
    slot = num_batch.to(tl.int64) * N * dim
    bias = tl.load(bias_ptr + channel, is_channel, 0.0).to(tl.float32) if HAS_BIAS else 0.0
    skip = tl.load(D_ptr + channel, is_channel, 0.0).to(tl.float32) if HAS_D else 0.0

    TIMES: tl.constexpr = TILES * STEPS
    held = ()
    decays = ()
    for n in tl.static_range(HELD):
        held = held + (tl.zeros((CHANNELS, 1), tl.float32),)
        decays = decays + (tl.load(A_ptr + n * dim + channel, is_channel, 0.0) * LOG2_E,)

    for chunk in tl.range(tl.cdiv(L, TIMES), num_stages=STAGES):
        begin = chunk * TIMES
        u_tile = load_tile(
            u_ptr, channel, begin, u_row, is_channel, L, CHANNELS_LAST, VECTOR, TIMES
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
        for n in tl.static_range(HELD):
            B = read_projection(B_ptr + n * B_state, begin, L, B_CONSTANT, PAIRS, UNIT, TIMES)
            C = read_projection(C_ptr + n * C_state, begin, L, C_CONSTANT, PAIRS, UNIT, TIMES)
            Bs = Bs + (unpacked(B, PAIRS),)
            Cs = Cs + (unpacked(C, PAIRS),)
        us = columns(u_tile)
        raws = columns(raw_tile)
        if HAS_Z:
            zs = columns(z_tile)
        out = ()
        for tile in tl.static_range(TILES):
            start = begin + tile * STEPS
            after = states_ptr
            before = states_ptr
            if SAVE:
                after += (chunk * TILES + tile) * slot
                before = after - slot
            if HELD == 0:  # of the first state, long before it is needed
                A, h = _read_state(A_ptr, before, channel, is_channel, start)
                B = read_projection(B_ptr, start, L, B_CONSTANT, PAIRS, UNIT, STEPS)
                C = read_projection(C_ptr, start, L, C_CONSTANT, PAIRS, UNIT, STEPS)
            u = some(us, tile * STEPS, STEPS)
            delta = step_sizes(
                some(raws, tile * STEPS, STEPS), bias, start, is_channel, L, SOFTPLUS
            )
            drive = products(delta, u)
            y = ()
            for i in tl.static_range(STEPS):
                y = y + (u[i] * skip,)
            if HELD > 0:
                ends = ()
                for n in tl.static_range(HELD):
                    B = some(Bs[n], tile * STEPS, STEPS)
                    C = some(Cs[n], tile * STEPS, STEPS)
                    h, y = advanced(delta, drive, decays[n], B, C, held[n], y)
                    if SAVE:
                        tl.store(after + n * dim + channel, h, is_channel & (start < L))
                    ends = ends + (h,)
                held = ends
            else:
                for first in range(0, tl.where(start < L, N, 0), UNROLL):
                    for i in tl.static_range(UNROLL):
                        n = first + i
                        later = tl.minimum(n + 1, N - 1)
                        at = later * dim
                        next_A, next_h = _read_state(
                            A_ptr + at, before + at, channel, is_channel, start
                        )
                        B_at = B_ptr + later * B_state
                        C_at = C_ptr + later * C_state
                        next_B = read_projection(B_at, start, L, B_CONSTANT, PAIRS, UNIT, STEPS)
                        next_C = read_projection(C_at, start, L, C_CONSTANT, PAIRS, UNIT, STEPS)
                        B_now = unpacked(B, PAIRS)
                        C_now = unpacked(C, PAIRS)
                        h, y = advanced(delta, drive, A * LOG2_E, B_now, C_now, h, y)
                        tl.store(after + n * dim + channel, h, is_channel)
                        A = next_A
                        h = next_h
                        B = next_B
                        C = next_C
            if HAS_Z:
                z = some(zs, tile * STEPS, STEPS)
                gated = ()
                for i in tl.static_range(STEPS):
                    gated = gated + (y[i] * z[i] * tl.sigmoid(z[i]),)
                y = gated
            for i in tl.static_range(STEPS):
                out = out + (y[i].to(out_ptr.dtype.element_ty),)
            if HELD == 0:
                tl.debug_barrier()  # states that other threads of this program stored are read next
        store_tile(out_ptr, out, channel, begin, out_row, is_channel, L, CHANNELS_LAST, VECTOR)
    if HELD > 0 and not SAVE:
        for n in tl.static_range(HELD):
            tl.store(states_ptr + n * dim + channel, held[n], is_channel)


@triton.jit
def _read_state(A_ptr, states_ptr, channel, is_channel, start):
    A = tl.load(A_ptr + channel, is_channel, 0.0)
    return A, tl.load(states_ptr + channel, is_channel & (start > 0), 0.0)
