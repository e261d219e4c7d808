"""The selective scan forward: a program walks through time with the channels of one group."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_tiles import columns, merged, offsets, projection, step_size

LOG2_E = tl.constexpr(1.4426950408889634)
STEPS = tl.constexpr(16)  # times in a tile


@triton.jit(do_not_specialize=["num_batch", "num_groups", "E", "L", "N", "u_batch", "u_row",
    "delta_batch", "delta_row", "z_batch", "z_row", "out_batch", "out_row", "B_batch", "B_group",
    "B_state", "C_batch", "C_group", "C_state"])
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
    B_CONSTANT: tl.constexpr, C_CONSTANT: tl.constexpr, PAIRS: tl.constexpr, CHANNELS: tl.constexpr,
    STAGES: tl.constexpr,
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
    lane = block * CHANNELS + tl.arange(0, CHANNELS)
    dim = num_groups * E
    channel = group * E + lane
    is_channel = lane[:, None] < E
    time = tl.arange(0, STEPS)

    u_ptr += batch * (u_batch // VECTOR * VECTOR)
    delta_ptr += batch * (delta_batch // VECTOR * VECTOR)
    out_ptr += batch * (out_batch // VECTOR * VECTOR)
    z_ptr += batch * (z_batch // VECTOR * VECTOR)
    B_ptr += batch * B_batch + group * B_group
    C_ptr += batch * C_batch + group * C_group
    states_ptr += batch * N * dim
    bias = tl.load(bias_ptr + channel[:, None], is_channel, 0.0).to(tl.float32) if HAS_BIAS else 0.0

    for start in range(0, L, STEPS):
        t = start + time
        inside = is_channel & (t < L)[None, :]
        u = tl.load(u_ptr + offsets(channel, t, u_row, CHANNELS_LAST, VECTOR), inside, 0.0)
        raw = tl.load(delta_ptr + offsets(channel, t, delta_row, CHANNELS_LAST, VECTOR), inside, 0.0)
        u = u.to(tl.float32)
        delta_tile = step_size(raw, bias, inside, SOFTPLUS)
        delta = columns(delta_tile, 4)
        drive = columns(delta_tile * u, 4)
        if HAS_D:
            skip = tl.load(D_ptr + channel[:, None], is_channel, 0.0).to(tl.float32)
            y = columns(u * skip, 4)
        else:
            y = (tl.zeros((CHANNELS, 1), tl.float32),) * STEPS
        before = states_ptr
        if SAVE:
            before -= num_batch.to(tl.int64) * N * dim
        for n in tl.range(0, N, num_stages=STAGES):
            A = tl.load(A_ptr + n * dim + channel[:, None], is_channel, 0.0) * LOG2_E
            state = n * dim + channel[:, None]
            h = tl.load(before + state, is_channel & (start > 0), 0.0)
            B = projection(B_ptr + n * B_state, start, L, B_CONSTANT, PAIRS)
            C = projection(C_ptr + n * C_state, start, L, C_CONSTANT, PAIRS)
            sums = ()
            for i in tl.static_range(STEPS):
                h = tl.exp2(delta[i] * A) * h + drive[i] * B[i]
                sums = sums + (y[i] + h * C[i],)
            y = sums
            tl.store(states_ptr + state, h, is_channel)
        if SAVE:
            states_ptr += num_batch.to(tl.int64) * N * dim
        out = merged(y)
        if HAS_Z:
            z = tl.load(z_ptr + offsets(channel, t, z_row, CHANNELS_LAST, VECTOR), inside, 0.0)
            out *= z.to(tl.float32) * tl.sigmoid(z.to(tl.float32))
        out_at = out_ptr + offsets(channel, t, out_row, CHANNELS_LAST, VECTOR)
        tl.store(out_at, out.to(out_ptr.dtype.element_ty), inside)
        tl.debug_barrier()  # states that other threads of this program stored are read next
