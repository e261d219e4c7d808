"""What ss2d's backward reads of dbc where pairs of its numbers lie at odd elements: a copy."""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows)

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["num_positions", "R", "b_at", "dbc_image", "dbc_row"])
def pack_kernel(
    dbc_ptr,  # (B, HW, K (R + 2)), rows dbc_row apart
    packed_ptr,  # (B, HW, K (b_at + 2)): out, of each direction dt, b_at - R zeros, b, c
    num_positions,
    R,
    b_at,
    dbc_image,
    dbc_row,
    DIRECTIONS: tl.constexpr,  # K
    WIDTH: tl.constexpr,  # b_at + 2, rounded up
    ROWS: tl.constexpr,
):
    """ROWS parts of directions, in the order of memory, of one image."""
    blocks = tl.cdiv(num_positions * DIRECTIONS, ROWS)
    image = (tl.program_id(0) // blocks).to(tl.int64)
    row = tl.program_id(0) % blocks * ROWS + tl.arange(0, ROWS)[:, None]
    number = tl.arange(0, WIDTH)[None, :]
    inside = (row < num_positions * DIRECTIONS) & (number < b_at + 2)
    there = number - tl.where(number < b_at, 0, b_at - R)
    part = row // DIRECTIONS * dbc_row + row % DIRECTIONS * (R + 2)
    is_copied = inside & ((number < R) | (number >= b_at))
    found = tl.load(dbc_ptr + image * dbc_image + part + there, mask=is_copied, other=0.0)
    packed_ptr += image * num_positions * DIRECTIONS * (b_at + 2)
    tl.store(packed_ptr + row * (b_at + 2) + number, found, mask=inside)
