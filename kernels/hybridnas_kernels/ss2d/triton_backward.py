"""The backward kernel of ss2d: derived in kernels/docs/ss2d.md.

One program goes back along one direction over a block of channels of an image, or of several
images, one after the other. A chunk's states are computed again from the one that the forward kept
before it.
"""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows, and has no starred tuples)

import triton
import triton.language as tl

from ..triton_lanes import lane_number, selectors
from .triton_kernel import (
    LOG2E,
    columns,
    exp2,
    opaque,
    pair_rows,
    read_dt,
    read_pair,
    read_word,
    rows,
    softplus,
    stacked,
    upright,
)
from .triton_sums import row_sums, scan_back, store_lane_sums, sums_anew


@triton.jit(
    do_not_specialize=[
        "num_images",
        "num_positions",
        "R",
        "b_at",
        "K",
        "num_chunks",
        "dbc_image",
        "dbc_row",
    ]
)
def backward_kernel(
    dy_ptr,  # (B, HW, C)
    x_ptr,  # (B, HW, C), rows x_row apart
    dbc_ptr,  # (B, HW, K (b_at + 2 N)), rows dbc_row apart
    weight_ptr,  # (K, C, R)
    A_ptr,  # (K, N, C)
    D_ptr,  # (K, C)
    bias_ptr,  # (K, C)
    table_ptr,  # (K, num_chunks T): positions in the order of each direction
    states_ptr,  # (B, K, num_chunks, N, C): the states before each chunk
    dx_ptr,  # (K, B, HW, C): out
    parts_ptr,  # (blocks, B, K, num_chunks, R + 2 N, T): out, of d_dbc from a block of channels
    d_parameters_ptr,  # (B / IMAGES, K, N + R + 2, C): out, of A, dt_weight, dt_bias and D
    carries_ptr,  # (B, K, N, C): room for the kernel, if GROUP < N
    num_images,
    num_positions,
    C,
    R,
    b_at,  # where b begins: R, or one more where dbc was packed
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
    IMAGES: tl.constexpr,  # that a program goes through; a divisor of their number
    IN_LANES: tl.constexpr,  # whether a warp sums d_b and d_c in registers; N 1, T 16, E 32
    STATES: tl.constexpr,  # 2 N, rounded up
    GROUP: tl.constexpr,  # states at a time, a divisor of N
    FAST: tl.constexpr,
    STAGES: tl.constexpr,  # how far loads run ahead
    WHOLE: tl.constexpr,  # whether E divides C
    R_UNIT: tl.constexpr,  # R is given in ones or pairs: as many ranks of weight are read at once
    UNIT: tl.constexpr,  # b_at and dbc's strides are given in pairs, if 2: pairs are read at once
):
    R *= R_UNIT
    b_at *= UNIT
    dbc_row *= UNIT
    dbc_image *= UNIT
    program = tl.program_id(0)
    k = program % K
    num_blocks = (C + E - 1) // E
    block = program // K % num_blocks
    pack = (program // K // num_blocks).to(tl.int64)
    image = pack * IMAGES
    channel = block * E + tl.arange(0, E)[None, :]
    inside = (channel < C) | WHOLE
    rank = tl.arange(0, RANK)
    TYPE: tl.constexpr = dbc_ptr.dtype.element_ty
    AHEAD: tl.constexpr = N == 1  # then all that is read is wide enough for it: UNIT is 2

    weight = tl.load(
        weight_ptr + (k * C + channel) * R + rank[:, None],
        mask=inside & (rank < R)[:, None],
        other=0.0,
    ).to(TYPE)
    bias = tl.load(bias_ptr + k * C + channel, mask=inside, other=0.0).to(tl.float32)
    D = tl.load(D_ptr + k * C + channel, mask=inside, other=0.0).to(tl.float32)
    dy_ptr += image * num_positions * C
    x_ptr += image * x_image
    dbc_ptr += image * dbc_image + k * (b_at + 2 * N)
    A_ptr += k * N * C
    states_ptr += (image * K + k) * num_chunks * N * C
    carries_ptr += (image * K + k) * N * C
    dx_ptr += (k * num_images + image) * num_positions * C
    part = (R + 2 * N) * T  # what a chunk gives: a row for each number, positions beside each other
    parts_ptr += ((block * num_images + image) * K + k) * num_chunks * part
    d_parameters_ptr += (pack * K + k) * (N + R + 2) * C

    ones = tl.full([STATES, E], 1.0, tl.float32).to(TYPE)
    state = tl.arange(0, STATES)[:, None]  # of c, N further, that many later
    time = tl.arange(0, T)[None, :]
    spoilt = tl.full([1, E], 0.0, tl.float32)  # NaN once a lane's sum was not finite
    if IN_LANES:
        lane = lane_number(tl.arange(0, E)[None, :])
        quads = selectors(lane)
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
    if not AHEAD:
        dt, pairs = read_dt(dbc_ptr + place * dbc_row, place < num_positions, b_at, RANK, N, GROUP)
    chunk = num_chunks - 1
    img = chunk * 0 if IMAGES > 1 else 0  # of this program's; offsets inside them fit 32 bits
    for step in tl.range(num_chunks * IMAGES, num_stages=STAGES):
        is_first = chunk == num_chunks - 1
        next_chunk = tl.where(chunk == 0, num_chunks - 1, chunk - 1)
        next_place = tl.load(table_ptr + next_chunk * T)
        on_map = place < num_positions
        mask = on_map & inside
        row_ptr = dbc_ptr + (place * dbc_row + img * dbc_image)
        if AHEAD:
            dt, _ = read_dt(row_ptr, on_map, b_at, RANK, N, 0)
            pairs = (read_word(row_ptr + b_at, on_map),)
        x_tile = tl.load(x_ptr + (place * x_row + img * x_image) + channel, mask=mask, other=0.0)
        at_place = (place + img * num_positions) * C + channel
        dy_tile = tl.load(dy_ptr + at_place, mask=mask, other=0.0)
        v = tl.dot(tl.trans(weight), tl.trans(dt), input_precision="ieee")
        v = columns(v + tl.trans(bias))
        delta, d_drive, d_delta = (), (), ()
        for t in tl.static_range(T):
            delta += (softplus(v[t], FAST),)
            d_drive += (tl.full([1, E], 0.0, tl.float32),)
            d_delta += (tl.full([1, E], 0.0, tl.float32),)
        x, dy = rows(x_tile), rows(dy_tile)
        d_bc = tl.full([STATES, T], 0.0, tl.float32)
        part_ptr = parts_ptr + (img * K * num_chunks + chunk) * part
        before_ptr = states_ptr + (img * K * num_chunks + chunk) * N * C
        if GROUP == N:
            carries_above, dA_so_far = (), ()
            for n in tl.static_range(N):
                h = tl.load(before_ptr + n * C + channel, mask=inside, other=0.0)
                b, c = pair_rows(pairs[n], TYPE)
                carry = tl.where(is_first & (IMAGES > 1), 0.0, carries[n])
                carry, dA_n, d_drive, d_delta, g_drive, dy_h = scan_back(
                    delta, x, dy, As[n], b, c, h, carry, dA[n], d_drive, d_delta, T, FAST
                )
                carries_above += (carry,)
                dA_so_far += (dA_n,)
                if IN_LANES:
                    total = store_lane_sums(g_drive, dy_h, part_ptr + R * T, lane, quads)
                    spoilt += total * 0.0
                else:
                    d_bc = tl.where(state == n, row_sums(g_drive, ones, FAST), d_bc)
                    d_bc = tl.where(state == N + n, row_sums(dy_h, ones, FAST), d_bc)
            carries, dA = carries_above, dA_so_far
        else:
            for group in range(N // GROUP):
                for i in tl.static_range(GROUP):
                    n = group * GROUP + i
                    at = n * C + channel
                    A = tl.load(A_ptr + at, mask=inside, other=0.0)
                    h = tl.load(before_ptr + at, mask=inside, other=0.0)
                    carry = tl.load(carries_ptr + at, mask=inside & (not is_first), other=0.0)
                    dA_n = tl.load(d_parameters_ptr + at, mask=inside, other=0.0)
                    b, c = pair_rows(read_pair(row_ptr + b_at + n, on_map, N), TYPE)
                    carry, dA_n, d_drive, d_delta, g_drive, dy_h = scan_back(
                        delta, x, dy, A, b, c, h, carry, dA_n, d_drive, d_delta, T, FAST
                    )
                    tl.store(carries_ptr + at, carry, mask=inside)
                    tl.store(d_parameters_ptr + at, dA_n, mask=inside)
                    d_bc = tl.where(state == n, row_sums(g_drive, ones, FAST), d_bc)
                    d_bc = tl.where(state == N + n, row_sums(dy_h, ones, FAST), d_bc)
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
        tl.store(dx_ptr + at_place, stacked(dx, T), mask=mask)
        dv = opaque(upright(dv), FAST)
        d_weight = tl.dot(dv, dt, d_weight, input_precision="ieee")
        d_dt = tl.dot(weight, dv, input_precision="ieee")
        tl.store(part_ptr + rank[:, None] * T + time, d_dt, mask=(rank < R)[:, None])
        if not IN_LANES:
            tl.store(part_ptr + (R + state) * T + time, d_bc, mask=state < 2 * N)
        if IMAGES > 1:
            img += (chunk == 0).to(tl.int32)
        chunk = next_chunk
        if not AHEAD:
            next_row = dbc_ptr + (next_place * dbc_row + img * dbc_image)
            is_there = (next_place < num_positions) & (step + 1 < num_chunks * IMAGES)
            dt, pairs = read_dt(next_row, is_there, b_at, RANK, N, GROUP)
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
    if IN_LANES and tl.max((spoilt != 0.0).to(tl.int32)) != 0:
        tl.debug_barrier()  # the sums are written over
        sums_anew(
            dy_ptr, x_ptr, dbc_ptr, table_ptr, states_ptr, parts_ptr, weight, bias, As[0],
            channel, inside, ones, num_positions, C, R, b_at, K, num_chunks, x_image, x_row,
            dbc_image, dbc_row, part, T, RANK, STATES, IMAGES, FAST,
        )  # fmt: skip
