"""The launches of ss2d's kernels: memory, strides and block sizes."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from ..backends import interpreted
from .triton_backward import backward_kernel
from .triton_finish import finish_kernel
from .triton_forward import forward_kernel
from .triton_kernel import merge_kernel
from .triton_layout import as_rows, in_pairs, pairs_in

# Programs that go back through several images are to fill an H100 at least so many times: it has
# places for eight of a warp with 255 registers on each of 132 multiprocessors.
ROUNDS = 5
PLACES = 8 * 132


def run_forward(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    table: Tensor,
    chunk: int,
    keep_states: bool,
) -> tuple[Tensor, Tensor]:
    """y and the states before each chunk (custom_op.py)."""
    x, dbc = as_rows(x), as_rows(dbc)
    B, H, W, C = x.shape
    K, R, N = dt_weight.shape[0], dt_weight.shape[2], A.shape[2]
    num_chunks = table.shape[1] // chunk
    unit = pairs_in(R, dbc)
    maps = x.new_empty(K, B, H, W, C)
    slots = num_chunks if keep_states else 1
    states = x.new_empty(B, K, slots, N, C, dtype=torch.float32)
    E = 64 if C % 64 == 0 and N == 1 else 32
    forward_kernel[(K * triton.cdiv(C, E) * B,)](
        x,
        dbc,
        *_parameters(dt_weight, A, D, dt_bias),
        table,
        maps,
        states,
        B,
        H * W,
        C,
        R // unit,
        K,
        num_chunks,
        x.stride(0),
        x.stride(2),
        dbc.stride(0) // unit,
        dbc.stride(2) // unit,
        N=N,
        T=chunk,
        E=E,
        RANK=max(16, triton.next_power_of_2(R)),
        SAVE=keep_states,
        GROUP=_group_of(N, 4),
        FAST=_is_fast(dbc),
        STAGES=1,
        UNIT=unit,
        num_warps=1,
        maxnreg=168 if E == 64 else None,  # so that a multiprocessor holds twelve programs
    )
    return _merged(maps), states if keep_states else states.new_empty(0)


def run_backward(
    dy: Tensor,
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    states: Tensor,
    table: Tensor,
    chunk: int,
) -> tuple[Tensor, ...]:
    """The gradients of x, dbc, dt_weight, A, D and dt_bias (custom_op.py)."""
    x, dbc, dy = as_rows(x), as_rows(dbc), dy.contiguous()
    B, H, W, C = x.shape
    K, R, N = dt_weight.shape[0], dt_weight.shape[2], A.shape[2]
    E = 32
    num_blocks = triton.cdiv(C, E)
    read, b_at = in_pairs(dbc, K, R) if N == 1 else (dbc, R)
    unit = pairs_in(b_at, read)
    r_unit = 2 if R > 16 and R % 2 == 0 else 1  # pairs up to 16 cost 30 instructions a chunk more
    maps = x.new_empty(K, B, H, W, C)
    num_chunks = table.shape[1] // chunk
    full = num_chunks * chunk == H * W  # else the longest direction has places beside the map
    parts = dbc.new_empty(num_blocks, B, K, num_chunks, R + 2 * N, chunk)
    furthest = max(x.stride(0), read.stride(0), H * W * C, parts.stride(1), states.stride(0))
    images = _images(B, K * num_blocks, furthest)
    d_parameters = x.new_empty(B // images, K, N + R + 2, C, dtype=torch.float32)
    group = _group_of(N, 2)
    carries = x.new_empty(B, K, N, C if group < N else 0, dtype=torch.float32)
    backward_kernel[(K * num_blocks * (B // images),)](
        dy,
        x,
        read,
        *_parameters(dt_weight, A, D, dt_bias),
        table,
        states,
        maps,
        parts,
        d_parameters,
        carries,
        B,
        H * W,
        C,
        R // r_unit,
        b_at // unit,
        K,
        num_chunks,
        x.stride(0),
        x.stride(2),
        read.stride(0) // unit,
        read.stride(2) // unit,
        N=N,
        T=chunk,
        E=E,
        RANK=max(16, triton.next_power_of_2(R)),
        IMAGES=images,
        IN_LANES=_in_lanes(N),
        STATES=max(16, triton.next_power_of_2(2 * N)),
        GROUP=group,
        FAST=_is_fast(dbc),
        STAGES=3,
        FULL=full,
        WHOLE=C % E == 0,
        R_UNIT=r_unit,
        UNIT=unit,
        num_warps=1,
        maxnreg=_registers(K * num_blocks * (B // images), unit, full and C % E == 0 and R <= 16),
    )
    return _finished(maps, parts, d_parameters, table, dbc, dt_weight, A, D, dt_bias)


def _finished(
    maps: Tensor,
    parts: Tensor,
    d_parameters: Tensor,
    table: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
) -> tuple[Tensor, ...]:
    """The sums of maps and parts over their first axis, and the parameters' gradients."""
    (K, C, R), N = dt_weight.shape, A.shape[2]
    num_chunks, width, chunk = parts.shape[3:]
    d_weight, dA, dD, d_bias = (x.new_empty(x.shape) for x in (dt_weight, A, D, dt_bias))
    d_dbc = dbc.new_empty(dbc.shape)
    block, columns, padded = 2048, 64, triton.next_power_of_2(width)
    dx = torch.empty_like(maps[0]) if len(maps) > 1 else maps[0]  # one map is the sum already
    map_programs = triton.cdiv(dx.numel(), block) if len(maps) > 1 else 0
    times = block // padded
    part_programs = dbc.shape[0] * K * triton.cdiv(num_chunks * chunk, times)
    parameter_programs = triton.cdiv(K * (N + R + 2) * C, columns)
    finish_kernel[(map_programs + part_programs + parameter_programs,)](
        maps,
        dx,
        parts,
        d_dbc,
        d_parameters,
        dA,
        d_weight,
        d_bias,
        dD,
        table,
        dx.numel(),
        dbc.shape[0],
        len(parts),
        len(d_parameters),
        K,
        R,
        N,
        C,
        dbc.shape[1] * dbc.shape[2],
        num_chunks,
        map_programs,
        part_programs,
        T=chunk,
        WIDTH=padded,
        BLOCK=block,
        ROWS=16,
        COLUMNS=columns,
        DIRECTIONS=K,
        num_warps=4,
    )
    return dx, d_dbc, d_weight, dA, dD, d_bias


def _images(batch: int, programs: int, furthest: int) -> int:
    """How many images a program goes through: more where that leaves programs enough.

    A divisor of the batch. programs: for each image. furthest: elements from one image to the
    next; a program's offsets have 32 bits.
    """
    for images in (4, 2):
        enough = programs * batch >= images * ROUNDS * PLACES
        if enough and batch % images == 0 and images * furthest < 2**31:
            return images
    return 1


def _registers(programs: int, unit: int, filled: bool) -> int | None:
    """A cap on registers, or None: 168 leave room for a third warp a scheduler.

    It pays where little is read ahead (unit 1), and where it saves a second round of programs and
    few registers are spilt (nothing is masked, since chunks and blocks are filled).
    """
    one_round = filled and PLACES < programs <= PLACES * 3 // 2
    return 168 if unit == 1 or one_round else None


def _merged(maps: Tensor) -> Tensor:
    """(K, ...) -> the sum over K, in maps' dtype."""
    if maps.shape[0] == 1:
        return maps[0]
    out = torch.empty_like(maps[0])
    block = 2048
    merge_kernel[(triton.cdiv(out.numel(), block),)](
        maps, out, out.numel(), K=maps.shape[0], BLOCK=block
    )
    return out


def _parameters(dt_weight: Tensor, A: Tensor, D: Tensor, dt_bias: Tensor) -> tuple[Tensor, ...]:
    """As both kernels read them; A is (K, N, C) there, float32."""
    A = A.float().mT.contiguous()
    return dt_weight.contiguous(), A, D.contiguous(), dt_bias.contiguous()


def _in_lanes(num_states: int) -> bool:
    """Whether sums over channels stay in a warp's registers. The interpreter has no lanes."""
    return num_states == 1 and not interpreted()


def _is_fast(x: Tensor) -> bool:
    """Whether x has 16 bits and a GPU computes: the interpreter knows no PTX."""
    return x.element_size() == 2 and not interpreted()


def _group_of(num_states: int, most: int) -> int:
    """How many states a kernel treats at a time: all, or a divisor up to `most`."""
    return max(size for size in range(1, most + 1) if num_states % size == 0)
