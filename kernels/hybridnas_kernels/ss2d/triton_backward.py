"""The backward kernel of ss2d: derived in kernels/README.md.

One program goes back along one direction over a block of channels of an image. A chunk's states
are computed again from the one that the forward kept before it.
"""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows, and has no starred tuples)

import triton
import triton.language as tl

from .triton_kernel import (
    LOG2E,
    exp2,
    pair_rows,
    read_dt,
    read_pair,
    rows,
    softplus,
    stacked,
    upright,
)


@triton.jit(
    do_not_specialize=[
        "num_images",
        "num_positions",
        "R",
        "K",
        "num_chunks",
        "dbc_image",
        "dbc_row",
    ]
)
def backward_kernel(
    dy_ptr,  # (B, HW, C)
    x_ptr,  # (B, HW, C), rows x_row apart
    dbc_ptr,  # (B, HW, K (R + 2 N)), rows dbc_row apart
    weight_ptr,  # (K, C, R)
    A_ptr,  # (K, N, C)
    D_ptr,  # (K, C)
    bias_ptr,  # (K, C)
    table_ptr,  # (K, num_chunks T): positions in the order of each direction
    states_ptr,  # (B, K, num_chunks, N, C): the states before each chunk
    dx_ptr,  # (K, B, HW, C): out
    d_dbc_ptr,  # (blocks, B, HW, K (R + 2 N)): out, a part from each block of channels
    d_parameters_ptr,  # (B, K, N + R + 2, C): out, of A, dt_weight, dt_bias, D, from each image
    carries_ptr,  # (B, K, N, C): room for the kernel, if GROUP < N
    num_images,
    num_positions,
    C,
    R,
    K,
    num_chunks,
    x_image,
    x_row,
    dbc_image,
    dbc_row,
    N: tl.constexpr,
    T: tl.constexpr,
    E: tl.constexpr,
    RANK: tl.constexpr,  # R, rounded up
    STATES: tl.constexpr,  # 2 N, rounded up
    GROUP: tl.constexpr,  # states at a time, a divisor of N
    FAST: tl.constexpr,
    STAGES: tl.constexpr,  # how far loads run ahead
    UNIT: tl.constexpr,  # R and the strides of dbc are given in pairs, if 2: pairs are read at once
):
    R *= UNIT
    dbc_row *= UNIT
    dbc_image *= UNIT
    program = tl.program_id(0)
    k = program % K
    num_blocks = (C + E - 1) // E
    block = program // K % num_blocks
    image = (program // K // num_blocks).to(tl.int64)
    channel = block * E + tl.arange(0, E)[None, :]
    inside = channel < C
    rank = tl.arange(0, RANK)

    weight = tl.load(
        weight_ptr + (k * C + channel) * R + rank[:, None],
        mask=inside & (rank < R)[:, None],
        other=0.0,
    ).to(dbc_ptr.dtype.element_ty)
    bias = tl.load(bias_ptr + k * C + channel, mask=inside, other=0.0).to(tl.float32)
    D = tl.load(D_ptr + k * C + channel, mask=inside, other=0.0).to(tl.float32)
    dy_ptr += image * num_positions * C
    x_ptr += image * x_image
    dbc_ptr += image * dbc_image + k * (R + 2 * N)
    A_ptr += k * N * C
    states_ptr += (image * K + k) * num_chunks * N * C
    carries_ptr += (image * K + k) * N * C
    dx_ptr += (k * num_images + image) * num_positions * C
    width = K * (R + 2 * N)
    d_dbc_ptr += (block * num_images + image) * num_positions * width + k * (R + 2 * N)
    d_parameters_ptr += (image * K + k) * (N + R + 2) * C

    ones = tl.full([STATES, E], 1.0, tl.float32).to(dbc_ptr.dtype.element_ty)
    state = tl.arange(0, STATES)[:, None]  # of c, N further, that many later
    carries, dA, As = (), (), ()
    for n in tl.static_range(GROUP):
        As += (tl.load(A_ptr + n * C + channel, mask=inside, other=0.0),)
        carries += (tl.full([1, E], 0.0, tl.float32),)
        dA += (tl.full([1, E], 0.0, tl.float32),)
    if GROUP < N:  # they are more than registers hold: dA lives where it goes, carries beside it
        for n in range(N):
            tl.store(d_parameters_ptr + n * C + channel, dA[0], mask=inside)
            tl.store(carries_ptr + n * C + channel, carries[0], mask=inside)
        tl.debug_barrier()
    d_weight = tl.full([E, RANK], 0.0, tl.float32)
    d_bias = tl.full([1, E], 0.0, tl.float32)
    dD = tl.full([1, E], 0.0, tl.float32)
    table_ptr += k * num_chunks * T + tl.arange(0, T)[:, None]
    place = tl.load(table_ptr + (num_chunks - 1) * T)
    dt, pairs = read_dt(dbc_ptr + place * dbc_row, place < num_positions, R, RANK, N, GROUP)
    for step in tl.range(num_chunks, num_stages=STAGES):
        chunk = num_chunks - 1 - step
        next_place = tl.load(table_ptr + tl.maximum(chunk - 1, 0) * T)
        on_map = place < num_positions
        mask = on_map & inside
        x_tile = tl.load(x_ptr + place * x_row + channel, mask=mask, other=0.0)
        dy_tile = tl.load(dy_ptr + place * C + channel, mask=mask, other=0.0)
        v = rows(tl.dot(dt, weight, input_precision="ieee") + bias)
        delta, d_drive, d_delta = (), (), ()
        for t in tl.static_range(T):
            delta += (softplus(v[t], FAST),)
            d_drive += (tl.full([1, E], 0.0, tl.float32),)
            d_delta += (tl.full([1, E], 0.0, tl.float32),)
        x, dy = rows(x_tile), rows(dy_tile)
        d_bc = tl.full([STATES, T], 0.0, tl.float32)
        if GROUP == N:
            carries_above, dA_so_far = (), ()
            for n in tl.static_range(N):
                at = n * C + channel
                A = As[n]
                h = tl.load(states_ptr + chunk * N * C + at, mask=inside, other=0.0)
                b, c = pair_rows(pairs[n])
                carry, dA_n, d_drive, d_delta, g_drive, dy_h = _scan_back(
                    delta, x, dy, A, b, c, h, carries[n], dA[n], d_drive, d_delta, T, FAST
                )
                carries_above += (carry,)
                dA_so_far += (dA_n,)
                d_bc = tl.where(state == n, _row_sums(g_drive, ones), d_bc)
                d_bc = tl.where(state == N + n, _row_sums(dy_h, ones), d_bc)
            carries, dA = carries_above, dA_so_far
        else:
            for group in range(N // GROUP):
                for i in tl.static_range(GROUP):
                    n = group * GROUP + i
                    at = n * C + channel
                    A = tl.load(A_ptr + at, mask=inside, other=0.0)
                    h = tl.load(states_ptr + chunk * N * C + at, mask=inside, other=0.0)
                    carry = tl.load(carries_ptr + at, mask=inside, other=0.0)
                    dA_n = tl.load(d_parameters_ptr + at, mask=inside, other=0.0)
                    b, c = pair_rows(read_pair(dbc_ptr + place * dbc_row + R + n, on_map, N))
                    carry, dA_n, d_drive, d_delta, g_drive, dy_h = _scan_back(
                        delta, x, dy, A, b, c, h, carry, dA_n, d_drive, d_delta, T, FAST
                    )
                    tl.store(carries_ptr + at, carry, mask=inside)
                    tl.store(d_parameters_ptr + at, dA_n, mask=inside)
                    d_bc = tl.where(state == n, _row_sums(g_drive, ones), d_bc)
                    d_bc = tl.where(state == N + n, _row_sums(dy_h, ones), d_bc)
            tl.debug_barrier()
        dx, dv = (), ()
        for t in tl.static_range(T):
            x_t, dy_t = x[t].to(tl.float32), dy[t].to(tl.float32)
            dx += ((d_drive[t] * delta[t] + D * dy_t).to(dx_ptr.dtype.element_ty),)
            if FAST:  # the sigmoid of v; this way v need not be kept
                slope = 1.0 - exp2(delta[t] * -LOG2E, FAST)
            else:
                slope = exp2((v[t] - delta[t]) * LOG2E, FAST)
            dv_t = (d_delta[t] + d_drive[t] * x_t) * slope
            dv += (dv_t.to(dt.dtype),)
            d_bias += dv_t
            dD += dy_t * x_t
        tl.store(dx_ptr + place * C + channel, stacked(dx, T), mask=mask)
        dv = upright(dv)
        d_weight = tl.dot(dv, dt, d_weight, input_precision="ieee")
        d_dt = tl.dot(weight, dv, input_precision="ieee")
        d_row_ptr = d_dbc_ptr + place * width
        tl.store(d_row_ptr + rank[None, :], tl.trans(d_dt), mask=on_map & (rank < R)[None, :])
        state_row = tl.trans(state)
        tl.store(d_row_ptr + R + state_row, tl.trans(d_bc), mask=on_map & (state_row < 2 * N))
        next_row = dbc_ptr + next_place * dbc_row
        dt, pairs = read_dt(next_row, next_place < num_positions, R, RANK, N, GROUP)
        place = next_place

    if GROUP == N:
        for n in tl.static_range(N):
            tl.store(d_parameters_ptr + n * C + channel, dA[n], mask=inside)
    d_parameters_ptr += N * C
    tl.store(
        d_parameters_ptr + rank[:, None] * C + channel,
        tl.trans(d_weight),
        mask=(rank < R)[:, None] & inside,
    )
    tl.store(d_parameters_ptr + R * C + channel, d_bias, mask=inside)
    tl.store(d_parameters_ptr + (R + 1) * C + channel, dD, mask=inside)


@triton.jit
def _scan_back(
    delta, x, dy, A, b, c, h, carry, dA, d_drive, d_delta, T: tl.constexpr, FAST: tl.constexpr
):
    """One state along the rows of a chunk and back.

    h: before the chunk. carry: decay[t] g[t] just after it. Returns carry before the chunk, dA,
    d_drive and d_delta with what this state adds, and the rows whose sums are dB and dC.
    """
    before, decay, dy_h = (), (), ()
    for t in tl.static_range(T):
        before += (h,)
        decay += (exp2(delta[t] * (A * LOG2E), FAST),)
        h = decay[t] * h + delta[t] * x[t].to(tl.float32) * b[t]
        dy_h += (dy[t].to(tl.float32) * h,)
    drive_so_far, delta_so_far = d_drive, d_delta
    d_drive, d_delta, g_drive = (), (), ()
    for t in tl.static_range(T - 1, -1, -1):
        g = dy[t].to(tl.float32) * c[t] + carry
        carry = decay[t] * g
        d_exponent = carry * before[t]
        dA += delta[t] * d_exponent
        d_delta = (delta_so_far[t] + A * d_exponent,) + d_delta
        d_drive = (drive_so_far[t] + g * b[t],) + d_drive
        g_drive = (g * (delta[t] * x[t].to(tl.float32)),) + g_drive
    return carry, dA, d_drive, d_delta, g_drive, dy_h


@triton.jit
def _row_sums(rows, ones):
    """T rows (1, E) of which each is summed, by ones (S, E) -> (S, T), S times the same."""
    return tl.dot(ones, upright(rows).to(ones.dtype), input_precision="ieee")
