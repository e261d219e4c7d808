"""The selective scan forward: a program walks through time with the channels of one group."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tiles import (
    load_pieces,
    pieces_of,
    products,
    projection,
    step_sizes,
    store_pieces,
    times_of,
)

LOG2_E = tl.constexpr(1.4426950408889634)


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
    SAVE: tl.constexpr, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr, PIECE: tl.constexpr,
    B_CONSTANT: tl.constexpr, C_CONSTANT: tl.constexpr, PAIRS: tl.constexpr, CHANNELS: tl.constexpr,
    STEPS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """A program: CHANNELS channels of one group of one batch entry, all times.

    The state lies in states_ptr between tiles: a loop over n then takes any number of states, and
    what the backward wants to keep is already written.
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
    B_ptr += batch * B_batch + group * B_group
    C_ptr += batch * C_batch + group * C_group
    states_ptr += batch * N * dim
    slot = num_batch.to(tl.int64) * N * dim
    TIMES: tl.constexpr = TILES * STEPS
    bias = tl.load(bias_ptr + channel, is_channel, 0.0).to(tl.float32) if HAS_BIAS else 0.0
    skip = tl.load(D_ptr + channel, is_channel, 0.0).to(tl.float32) if HAS_D else 0.0

    for chunk in range(tl.cdiv(L, TILES * STEPS)):
        chunk_start = chunk * (TILES * STEPS)
        u_pieces = load_pieces(
            u_ptr, channel, chunk_start, u_row, is_channel, L, CHANNELS_LAST, VECTOR, PIECE, TIMES
        )
        raw_pieces = load_pieces(
            delta_ptr,
            channel,
            chunk_start,
            delta_row,
            is_channel,
            L,
            CHANNELS_LAST,
            VECTOR,
            PIECE,
            TIMES,
        )
        if HAS_Z:
            z_pieces = load_pieces(
                z_ptr,
                channel,
                chunk_start,
                z_row,
                is_channel,
                L,
                CHANNELS_LAST,
                VECTOR,
                PIECE,
                TIMES,
            )
        out_pieces = ()
        for tile in tl.static_range(TILES):
            start = chunk_start + tile * STEPS
            u = times_of(u_pieces, tile, PIECE, STEPS)
            raw = times_of(raw_pieces, tile, PIECE, STEPS)
            delta = step_sizes(raw, bias, start, is_channel, L, SOFTPLUS)
            drive = products(delta, u)
            y = ()
            for i in tl.static_range(STEPS):
                y = y + (u[i] * skip,)
            before = states_ptr
            after = states_ptr
            if SAVE:
                after += (chunk * TILES + tile) * slot
                before = after - slot
            for n in range(tl.where(start < L, N, 0)):
                at = n * dim + channel
                A = tl.load(A_ptr + at, is_channel, 0.0) * LOG2_E
                h = tl.load(before + at, is_channel & (start > 0), 0.0)
                B = projection(B_ptr + n * B_state, start, L, B_CONSTANT, PAIRS, STEPS)
                C = projection(C_ptr + n * C_state, start, L, C_CONSTANT, PAIRS, STEPS)
                sums = ()
                for i in tl.static_range(STEPS):
                    h = tl.exp2(delta[i] * A) * h + drive[i] * B[i]
                    sums = sums + (y[i] + h * C[i],)
                y = sums
                tl.store(after + at, h, is_channel)
            if HAS_Z:
                z = times_of(z_pieces, tile, PIECE, STEPS)
                gated = ()
                for i in tl.static_range(STEPS):
                    gated = gated + (y[i] * z[i] * tl.sigmoid(z[i]),)
                y = gated
            out_pieces = out_pieces + pieces_of(y, out_ptr.dtype.element_ty, PIECE)
            tl.debug_barrier()  # states that other threads of this program stored are read next
        store_pieces(
            out_ptr,
            out_pieces,
            channel,
            chunk_start,
            out_row,
            is_channel,
            L,
            CHANNELS_LAST,
            VECTOR,
            PIECE,
            TIMES,
        )
