"""The forward kernel of ss2d: a program scans a block of an image's channels in a direction."""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows)

import triton
import triton.language as tl

from .triton_kernel import LOG2E, exp2, pair_rows, read_dt, read_pair, rows, softplus, stacked


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
def forward_kernel(
    x_ptr,  # (B, HW, C), rows x_row apart
    dbc_ptr,  # (B, HW, K (R + 2 N)), rows dbc_row apart
    weight_ptr,  # (K, C, R)
    A_ptr,  # (K, N, C)
    D_ptr,  # (K, C)
    bias_ptr,  # (K, C)
    table_ptr,  # (K, num_chunks T): positions in the order of each direction
    maps_ptr,  # (K, B, HW, C): out
    states_ptr,  # (B, K, num_chunks if SAVE else 1, N, C): out, the states before each chunk
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
    SAVE: tl.constexpr,
    GROUP: tl.constexpr,  # states at a time, a divisor of N
    FAST: tl.constexpr,
    STAGES: tl.constexpr,  # how far loads run ahead
    UNIT: tl.constexpr,  # R and the strides of dbc are given in pairs, if 2: pairs are read at once
):
    R *= UNIT
    dbc_row *= UNIT
    dbc_image *= UNIT
    program = tl.program_id(0)  # directions fastest: those of one map run together
    k = program % K
    num_blocks = (C + E - 1) // E
    block = program // K % num_blocks
    image = (program // K // num_blocks).to(tl.int64)
    channel = block * E + tl.arange(0, E)[None, :]
    inside = channel < C
    rank = tl.arange(0, RANK)
    TYPE: tl.constexpr = dbc_ptr.dtype.element_ty

    weight = tl.load(
        weight_ptr + (k * C + channel) * R + rank[:, None],
        mask=inside & (rank < R)[:, None],
        other=0.0,
    ).to(dbc_ptr.dtype.element_ty)
    bias = tl.load(bias_ptr + k * C + channel, mask=inside, other=0.0).to(tl.float32)
    D = tl.load(D_ptr + k * C + channel, mask=inside, other=0.0).to(tl.float32)
    x_ptr += image * x_image
    dbc_ptr += image * dbc_image + k * (R + 2 * N)
    maps_ptr += (k * num_images + image) * num_positions * C
    A_ptr += k * N * C
    states_ptr += (image * K + k) * (num_chunks if SAVE else 1) * N * C

    states_step = N * C if SAVE else 0
    states, decays = (), ()
    for n in tl.static_range(GROUP):
        states += (tl.full([1, E], 0.0, tl.float32),)
        decays += (tl.load(A_ptr + n * C + channel, mask=inside, other=0.0) * LOG2E,)
    if GROUP < N:  # the states are more than registers hold: they live in states_ptr
        for n in range(N):
            tl.store(states_ptr + n * C + channel, states[0], mask=inside)
        tl.debug_barrier()
    table_ptr += k * num_chunks * T + tl.arange(0, T)[:, None]
    place = tl.load(table_ptr)
    dt, pairs = read_dt(dbc_ptr + place * dbc_row, place < num_positions, R, RANK, N, GROUP)
    for chunk in tl.range(num_chunks, num_stages=STAGES):
        next_place = tl.load(table_ptr + tl.minimum(chunk + 1, num_chunks - 1) * T)
        on_map = place < num_positions
        mask = on_map & inside
        x_tile = tl.load(x_ptr + place * x_row + channel, mask=mask, other=0.0)
        v = rows(tl.dot(dt, weight, input_precision="ieee") + bias)
        delta = ()
        for t in tl.static_range(T):
            delta += (softplus(v[t], FAST),)
        x = rows(x_tile)
        drive, y = (), ()
        for t in tl.static_range(T):
            drive += (delta[t] * x[t].to(tl.float32),)
            y += (D * x[t].to(tl.float32),)
        if GROUP == N:
            after = ()
            for n in tl.static_range(N):
                if SAVE:
                    tl.store(states_ptr + n * C + channel, states[n], mask=inside)
                b, c = pair_rows(pairs[n], TYPE)
                h, y = _scan(delta, drive, decays[n], b, c, states[n], y, T, FAST)
                after += (h,)
            states = after
        else:
            for group in range(N // GROUP):
                for i in tl.static_range(GROUP):
                    n = group * GROUP + i
                    state_ptr = states_ptr + n * C + channel
                    h = tl.load(state_ptr, mask=inside, other=0.0)
                    A = tl.load(A_ptr + n * C + channel, mask=inside, other=0.0) * LOG2E
                    pair = read_pair(dbc_ptr + place * dbc_row + R + n, on_map, N)
                    b, c = pair_rows(pair, TYPE)
                    h, y = _scan(delta, drive, A, b, c, h, y, T, FAST)
                    last = SAVE and chunk == num_chunks - 1
                    tl.store(state_ptr + states_step, h, mask=inside & (not last))
            tl.debug_barrier()
        states_ptr += states_step
        tl.store(maps_ptr + place * C + channel, stacked(y, T), mask=mask)
        next_row = dbc_ptr + next_place * dbc_row
        dt, pairs = read_dt(next_row, next_place < num_positions, R, RANK, N, GROUP)
        place = next_place


@triton.jit
def _scan(delta, drive, A, b, c, h, y, T: tl.constexpr, FAST: tl.constexpr):
    """One state along the rows of a chunk: the state after it, and y with what it adds."""
    so_far, y = y, ()
    for t in tl.static_range(T):
        h = exp2(delta[t] * A, FAST) * h + drive[t] * b[t]
        y += (so_far[t] + h * c[t],)
    return h, y
