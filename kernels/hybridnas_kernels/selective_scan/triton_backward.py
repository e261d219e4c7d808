"""The selective scan backward: a program walks back through time, a tile at a time."""

from __future__ import annotations

import triton
import triton.language as tl

from .triton_forward import LOG2_E
from .triton_tiles import (
    beside,
    load_pieces,
    merged,
    pieces_of,
    products,
    projection,
    step_sizes,
    store_pieces,
    times_of,
)

# The matrix units cut a float32 to tf32's 10 bits instead of rounding it: on average 0.72 / 2^11
# of a number is lost (mantissas spread evenly in the logarithm).
TRUNCATION = tl.constexpr(1 + 0.7213 / 2**11)


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
        "dout_batch",
        "dout_row",
        "du_batch",
        "du_row",
        "B_batch",
        "B_group",
        "B_state",
        "C_batch",
        "C_group",
        "C_state",
    ]
)
def scan_backward(
    u_ptr, delta_ptr, z_ptr, dout_ptr, du_ptr, ddelta_ptr, dz_ptr,  # (batch, G E, L)
    A_ptr,  # (N, G E)
    B_ptr, C_ptr,  # (batch, G, N, L)
    D_ptr, bias_ptr,  # (G E,)
    states_ptr,  # (tiles, batch, N, G E): the state after each tile, of the forward
    carry_ptr,  # (batch, N, G E): the gradient that enters a tile from its end
    dconst_ptr,  # (batch, N + 2, G E): of A, D and bias, each batch entry's share
    dB_ptr, dC_ptr,  # (blocks, batch, G, N, L): each block of channels' share
    num_batch, num_groups, E, L, N,
    u_batch, u_row, delta_batch, delta_row, z_batch, z_row, dout_batch, dout_row, du_batch, du_row,
    B_batch, B_group, B_state, C_batch, C_group, C_state,
    HAS_D: tl.constexpr, HAS_Z: tl.constexpr, HAS_BIAS: tl.constexpr, SOFTPLUS: tl.constexpr,
    HAS_DLAST: tl.constexpr, CHANNELS_LAST: tl.constexpr, VECTOR: tl.constexpr, PIECE: tl.constexpr,
    B_CONSTANT: tl.constexpr, C_CONSTANT: tl.constexpr, PAIRS: tl.constexpr,
    PRECISION: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr, TILES: tl.constexpr,

):  # fmt: skip
    """A program: CHANNELS channels of one group of one batch entry, all times from the last.

    In a tile and for one n: the states again from the one before the tile, then their gradients
    backwards. What B and C get is summed over the program's channels by a matrix product with
    ones: a reduction by shuffles takes more instructions than all the rest.
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
    B_ptr += batch * B_batch + group * B_group
    C_ptr += batch * C_batch + group * C_group
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
    both_time = tl.arange(0, 2 * STEPS)[None, :]  # of dB, then of dC
    sum_row = tl.arange(0, 16)[:, None] == 0
    ones = tl.full((16, CHANNELS), 1.0, tl.float32)

    num_chunks = tl.cdiv(L, TIMES)
    for back in range(num_chunks):
        chunk = num_chunks - 1 - back
        chunk_start = chunk * TIMES
        u_pieces = load_pieces(
            u_ptr, channel, chunk_start, u_row, is_channel, L, CHANNELS_LAST, VECTOR, PIECE, TIMES
        )
        dout_pieces = load_pieces(
            dout_ptr,
            channel,
            chunk_start,
            dout_row,
            is_channel,
            L,
            CHANNELS_LAST,
            VECTOR,
            PIECE,
            TIMES,
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
        du_pieces = ()
        ddelta_pieces = ()
        dz_pieces = ()
        for tile in tl.static_range(TILES - 1, -1, -1):
            start = chunk_start + tile * STEPS
            u = times_of(u_pieces, tile, PIECE, STEPS)
            dy = times_of(dout_pieces, tile, PIECE, STEPS)
            if HAS_Z:
                dout = dy
                z = times_of(z_pieces, tile, PIECE, STEPS)
                y = ()
                dy = ()
                for i in tl.static_range(STEPS):
                    y = y + (u[i] * skip,)
                    dy = dy + (dout[i] * z[i] * tl.sigmoid(z[i]),)
            if HAS_D:
                for i in tl.static_range(STEPS):
                    dskip += dy[i] * u[i]
            raw = times_of(raw_pieces, tile, PIECE, STEPS)
            delta = step_sizes(raw, bias, start, is_channel, L, SOFTPLUS)
            drive = products(delta, u)
            gB = (zero,) * STEPS  # the sum over n of g[t] B[t]
            dexponent = (zero,) * STEPS  # the sum over n of A d(loss)/d(delta[t] A)
            states_before = states_ptr + (chunk * TILES + tile - 1) * slot
            is_last = start + STEPS >= L  # the first one to be done
            for n in range(tl.where(start < L, N, 0)):
                at = n * dim + channel
                A = tl.load(A_ptr + at, is_channel, 0.0) * LOG2_E
                h = tl.load(states_before + at, is_channel & (start > 0), 0.0)
                entered = is_channel if HAS_DLAST else is_channel & (not is_last)
                g = tl.load(carry_ptr + at, entered, 0.0)
                dA = tl.load(dconst_ptr + at, is_channel & (not is_last), 0.0)
                B = projection(B_ptr + n * B_state, start, L, B_CONSTANT, PAIRS, STEPS)
                C = projection(C_ptr + n * C_state, start, L, C_CONSTANT, PAIRS, STEPS)

                decay = ()
                states = (h,)
                for i in tl.static_range(STEPS):
                    decay = decay + (tl.exp2(delta[i] * A),)
                    h = decay[i] * h + drive[i] * B[i]
                    states = states + (h,)
                if HAS_Z:
                    sums = ()
                    for i in tl.static_range(STEPS):
                        sums = sums + (y[i] + states[i + 1] * C[i],)
                    y = sums

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
                gB = sums_gB
                dexponent = sums_dexponent
                tl.store(carry_ptr + at, g, is_channel)
                tl.store(dconst_ptr + at, dA, is_channel)
                shares = tl.dot(ones, beside(merged(dB), merged(dC)), input_precision=PRECISION)
                if PRECISION == "tf32":
                    shares *= TRUNCATION
                share_time = start + both_time % STEPS
                first = tl.where(both_time < STEPS, dB_ptr, dC_ptr) + n * L
                share_at = first + share_time + tl.zeros((16, 1), tl.int32)
                tl.store(share_at, shares, sum_row & (share_time < L))

            du = ()
            ddelta = ()
            for i in tl.static_range(STEPS):
                du = du + (gB[i] * delta[i] + skip * dy[i],)
                d = dexponent[i] * (1.0 / LOG2_E) + gB[i] * u[i]
                if SOFTPLUS:
                    d *= tl.sigmoid(raw[i] + bias)
                d = tl.where(is_channel & (start + i < L), d, 0.0)
                ddelta = ddelta + (d,)
                dbias += d
            du_pieces = pieces_of(du, du_ptr.dtype.element_ty, PIECE) + du_pieces
            ddelta_pieces = pieces_of(ddelta, ddelta_ptr.dtype.element_ty, PIECE) + ddelta_pieces
            if HAS_Z:
                dz = ()
                for i in tl.static_range(STEPS):
                    gate = tl.sigmoid(z[i])
                    dz = dz + (dout[i] * y[i] * gate * (1.0 + z[i] * (1.0 - gate)),)
                dz_pieces = pieces_of(dz, dz_ptr.dtype.element_ty, PIECE) + dz_pieces
            tl.debug_barrier()  # what other threads of this program stored is read in the next tile
        store_pieces(
            du_ptr,
            du_pieces,
            channel,
            chunk_start,
            du_row,
            is_channel,
            L,
            CHANNELS_LAST,
            VECTOR,
            PIECE,
            TIMES,
        )
        store_pieces(
            ddelta_ptr,
            ddelta_pieces,
            channel,
            chunk_start,
            du_row,
            is_channel,
            L,
            CHANNELS_LAST,
            VECTOR,
            PIECE,
            TIMES,
        )
        if HAS_Z:
            store_pieces(
                dz_ptr,
                dz_pieces,
                channel,
                chunk_start,
                du_row,
                is_channel,
                L,
                CHANNELS_LAST,
                VECTOR,
                PIECE,
                TIMES,
            )
    if HAS_D:
        tl.store(dconst_ptr + N * dim + channel, dskip, is_channel)
    if HAS_BIAS:
        tl.store(dconst_ptr + (N + 1) * dim + channel, dbias, is_channel)
