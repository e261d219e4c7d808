"""The sums after ss2d's backward kernel, in one launch: a small map would wait for each of them."""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows)

import triton
import triton.language as tl

from .triton_kernel import sum_block


@triton.jit(
    do_not_specialize=[
        "num_images",
        "num_parts",
        "num_packs",
        "K",
        "R",
        "N",
        "C",
        "map_programs",
        "part_programs",
        "num_positions",
        "num_chunks",
    ]
)
def finish_kernel(
    maps_ptr,  # (K, map_size)
    dx_ptr,  # (map_size,): out
    parts_ptr,  # (num_parts, B, K, num_chunks, R + 2 N, T)
    d_dbc_ptr,  # (B, HW, K (R + 2 N)): out
    parameters_ptr,  # (num_packs, K, N + R + 2, C): of A, dt_weight, dt_bias and D
    dA_ptr,  # (K, C, N): out
    d_weight_ptr,  # (K, C, R): out
    d_bias_ptr,  # (K, C): out
    dD_ptr,  # (K, C): out
    table_ptr,  # (K, num_chunks T): positions in the order of each direction
    map_size,
    num_images,
    num_parts,
    num_packs,
    K,
    R,
    N,
    C,
    num_positions,
    num_chunks,
    map_programs,
    part_programs,
    T: tl.constexpr,
    WIDTH: tl.constexpr,  # R + 2 N, rounded up
    BLOCK: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DIRECTIONS: tl.constexpr,  # K
):
    """The first map_programs sum dx over directions, part_programs more d_dbc over blocks of
    channels, which they bring from the order of the scans into that of the map, the others the
    parameters' gradients over packs of images; each in a fixed order."""
    program = tl.program_id(0)
    if program < map_programs:
        sum_block(program, maps_ptr, dx_ptr, map_size, DIRECTIONS, BLOCK)
    elif program < map_programs + part_programs:
        block = program - map_programs
        _sum_parts(
            block, parts_ptr, d_dbc_ptr, table_ptr, num_images, num_parts, K, R + 2 * N,
            num_positions, num_chunks, T, WIDTH, BLOCK // WIDTH,
        )  # fmt: skip
    else:
        block = program - map_programs - part_programs
        _sum_parameters(
            block, parameters_ptr, dA_ptr, d_weight_ptr, d_bias_ptr, dD_ptr, num_packs, K, R, N, C,
            ROWS, COLUMNS,
        )  # fmt: skip


@triton.jit
def _sum_parts(
    block, parts_ptr, d_dbc_ptr, table_ptr, num_images, num_parts, K, width, num_positions,
    num_chunks, T: tl.constexpr, WIDTH: tl.constexpr, TIMES: tl.constexpr,
):  # fmt: skip
    """TIMES steps of a direction of an image: read as they lie, positions beside each other,
    written as rows of the map."""
    times = num_chunks * T
    blocks = tl.cdiv(times, TIMES)
    pair = block // blocks  # image K + direction
    time = block % blocks * TIMES + tl.arange(0, TIMES)
    number = tl.arange(0, WIDTH)
    parts_ptr += pair.to(tl.int64) * times * width
    found_ptr = parts_ptr + (time // T * width * T + time % T)[None, :] + number[:, None] * T
    mask = (time < times)[None, :] & (number < width)[:, None]
    total = tl.zeros((WIDTH, TIMES), tl.float32)
    for _part in range(num_parts):
        total += tl.load(found_ptr, mask=mask, other=0.0).to(tl.float32)
        found_ptr += num_images.to(tl.int64) * K * times * width
    position = tl.load(table_ptr + pair % K * times + time, mask=time < times, other=num_positions)
    row = (pair // K).to(tl.int64) * num_positions + position
    at = (row * K + pair % K)[:, None] * width + number[None, :]
    on_map = (position < num_positions)[:, None] & (number < width)[None, :]
    tl.store(d_dbc_ptr + at, tl.trans(total), mask=on_map)


@triton.jit
def _sum_parameters(
    block, parameters_ptr, dA_ptr, d_weight_ptr, d_bias_ptr, dD_ptr, num_packs, K, R, N, C,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """COLUMNS of the K (N + R + 2) C sums, each to its place; ROWS packs are added at a time."""
    height = N + R + 2
    at = block * COLUMNS + tl.arange(0, COLUMNS)
    inside = at < K * height * C
    rows = tl.zeros((ROWS, COLUMNS), tl.float32)
    for first in range(0, num_packs, ROWS):
        pack = first + tl.arange(0, ROWS)[:, None]
        found_ptr = parameters_ptr + pack.to(tl.int64) * (K * height * C) + at[None, :]
        rows += tl.load(found_ptr, mask=(pack < num_packs) & inside[None, :], other=0.0)
    total = tl.sum(rows, 0)
    row = at // C % height
    of_channel = at // (C * height) * C + at % C  # k C + c
    tl.store(dA_ptr + of_channel * N + row, total, mask=inside & (row < N))
    row -= N
    tl.store(d_weight_ptr + of_channel * R + row, total, mask=inside & (row >= 0) & (row < R))
    tl.store(d_bias_ptr + of_channel, total, mask=inside & (row == R))
    tl.store(dD_ptr + of_channel, total, mask=inside & (row == R + 1))
