"""One state back through a chunk, and the sums over channels that b and c get of it."""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows, and has no starred tuples)

import triton
import triton.language as tl

from ..triton_lanes import lane_sums, place
from .triton_kernel import LOG2E, columns, exp2, opaque, pair_rows, read_dt, rows, softplus, upright


@triton.jit
def scan_back(
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
def row_sums(rows, ones, FAST: tl.constexpr):
    """T rows (1, E) of which each is summed, by ones (S, E) -> (S, T), S times the same."""
    return tl.dot(ones, opaque(upright(rows).to(ones.dtype), FAST), input_precision="ieee")


@triton.jit
def store_lane_sums(g_drive, dy_h, d_bc_ptr, lane, quads):
    """d_b and d_c of 16 positions, sums over the 32 channels of a warp; returns what it stored.

    d_bc_ptr: 16 of d_b, then 16 of d_c. Where one number is not finite, the sums of all positions
    are not.
    """
    EXACT: tl.constexpr = d_bc_ptr.dtype.element_ty == tl.float32
    total = lane_sums(g_drive, dy_h, lane, quads, EXACT)
    is_c, step = place(lane)
    at = d_bc_ptr + is_c.to(tl.int32) * 16 + step
    tl.store(at, total.to(d_bc_ptr.dtype.element_ty))
    return total


@triton.jit
def sums_anew(
    dy_ptr, x_ptr, dbc_ptr, table_ptr, states_ptr, parts_ptr, weight, bias, A, channel, inside,
    ones, num_positions, C, R, b_at, K, num_chunks, x_image, x_row, dbc_image, dbc_row, part,
    T: tl.constexpr, RANK: tl.constexpr, STATES: tl.constexpr, IMAGES: tl.constexpr,
    FAST: tl.constexpr,
):  # fmt: skip
    """All of a program's d_b and d_c once more, by row_sums: NaN stays at its place."""
    E: tl.constexpr = channel.shape[1]
    zero = tl.full([1, E], 0.0, tl.float32)
    zeros = (zero,) * T
    state = tl.arange(0, STATES)[:, None]
    carry = zero
    for step in range(num_chunks * IMAGES):
        img = step // num_chunks
        chunk = num_chunks - 1 - step % num_chunks
        position = tl.load(table_ptr + chunk * T)
        on_map = position < num_positions
        mask = on_map & inside
        row_ptr = dbc_ptr + (position * dbc_row + img * dbc_image)
        dt, pairs = read_dt(row_ptr, on_map, b_at, RANK, 1, 1)
        at = (position + img * num_positions) * C + channel
        dy = rows(tl.load(dy_ptr + at, mask=mask, other=0.0))
        x_at = position * x_row + img * x_image + channel
        x = rows(tl.load(x_ptr + x_at, mask=mask, other=0.0))
        v = tl.dot(tl.trans(weight), tl.trans(dt), input_precision="ieee")
        v = columns(v + tl.trans(bias))
        delta = ()
        for t in tl.static_range(T):
            delta += (softplus(v[t], FAST),)
        before = states_ptr + (img * K * num_chunks + chunk) * C + channel
        h = tl.load(before, mask=inside, other=0.0)
        b, c = pair_rows(pairs[0], ones.dtype)
        carry = tl.where(step % num_chunks == 0, 0.0, carry)
        carry, _, _, _, g_drive, dy_h = scan_back(
            delta, x, dy, A, b, c, h, carry, zero, zeros, zeros, T, FAST
        )
        d_bc = tl.where(state == 0, row_sums(g_drive, ones, FAST), row_sums(dy_h, ones, FAST))
        d_bc_ptr = parts_ptr + (img * K * num_chunks + chunk) * part + (R + state) * T
        tl.store(d_bc_ptr + tl.arange(0, T)[None, :], d_bc, mask=state < 2)
