"""What up to 16 states need, in shared memory of a warp's own: for the scan's backward.

A read into registers holds one of a warp's six scoreboards until it is there, and whoever waits
for an exchange between lanes or for exp2 may wait for the reads that share its scoreboard. Copies
into shared memory (cp.async) hold none, and are begun a whole tile before they are read.

A place is an address in bytes. Even and odd tiles have a block each: the state before the tile and
the gradient that enters it, of each lane's channel, and the tile's B and C, which all lanes read.
A tile reads its block while that of the tile before it is filled. After the blocks stand, of each
lane's channel, A, of powers of 2, and its gradient so far:

                          block of an even tile   of an odd one    KEPT
                          h | g | B and C         h | g | B and C  A | dA
    bytes of one state  128 | 128 | 64          128 | 128 | 64   128 | 128

All but B and C is read by the lane that wrote or copied it.
"""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows)

from __future__ import annotations

import triton
import triton.language as tl

from .triton_states import LOG2_E, one_state, store_lane_sums
from .triton_tiles import unpacked

ROWS = tl.constexpr(16)  # of states at most
ROW = tl.constexpr(128)  # a float32 of each of 32 lanes
PAIRS_ROW = tl.constexpr(64)  # 8 pairs of B, 8 of C
GRADIENT = tl.constexpr(16 * 128)  # from h or A
PROJECTIONS = tl.constexpr(2 * 16 * 128)  # from h
BLOCK = tl.constexpr(16 * (2 * 128 + 64))
KEPT = tl.constexpr(2 * BLOCK.value)
BYTES = tl.constexpr(KEPT.value + 2 * 16 * 128)


@triton.jit
def reserved(like, BYTES: tl.constexpr):
    """The address of so many bytes of shared memory, a multiple of 128.

    like: any integer. It is no tensor, of which the compiler might make one for each layout.
    """
    return tl.inline_asm_elementwise(
        f"{{ .shared .align 128 .b8 rows[{BYTES}]; .reg .b32 keep; mov.b32 keep, $1; "
        "mov.u32 $0, rows; }",
        "=r,r", [like], dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def read(place, OFFSET: tl.constexpr):
    """The float32 at a place and so many bytes on."""
    return tl.inline_asm_elementwise(
        f"ld.shared.f32 $0, [$1+{OFFSET}];",
        "=f,r", [place], dtype=tl.float32, is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def read_four(place, OFFSET: tl.constexpr):
    """Four int32 from there on, 16 bytes that begin at a multiple of 16."""
    return tl.inline_asm_elementwise(
        f"ld.shared.v4.b32 {{$0,$1,$2,$3}}, [$4+{OFFSET}];",
        "=r,=r,=r,=r,r", [place],
        dtype=(tl.int32, tl.int32, tl.int32, tl.int32), is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def write(place, value, OFFSET: tl.constexpr):
    """A float32 to there. Only who wrote it may read it without `arrived` in between."""
    tl.inline_asm_elementwise(
        f"st.shared.f32 [$1+{OFFSET}], $2; mov.b32 $0, 0;",
        "=r,r,f", [place, value], dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def copy(place, pointer, is_there, OFFSET: tl.constexpr):
    """Begins to copy 4 bytes to there, zero where nothing is there to be read."""
    tl.inline_asm_elementwise(
        f"cp.async.ca.shared.global [$1+{OFFSET}], [$2], 4, $3; mov.b32 $0, 0;",
        "=r,r,l,r", [place, pointer.to(tl.int64), tl.where(is_there, 4, 0)],
        dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def copy_some(place, pointer, is_there, is_wanted, OFFSET: tl.constexpr):
    """The same only where it is wanted; elsewhere nothing is written."""
    tl.inline_asm_elementwise(
        f"{{ .reg .pred p; setp.ne.b32 p, $4, 0; "
        f"@p cp.async.ca.shared.global [$1+{OFFSET}], [$2], 4, $3; mov.b32 $0, 0; }}",
        "=r,r,l,r,r",
        [place, pointer.to(tl.int64), tl.where(is_there, 4, 0), is_wanted.to(tl.int32)],
        dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def arrived(like):
    """Zero, once what any lane of the warp began to copy, or wrote, is there for all.

    Reads depend on it by their place: to the compiler they are functions of that.
    """
    return tl.inline_asm_elementwise(
        "cp.async.wait_all; bar.warp.sync 0xffffffff; mov.b32 $0, 0;",
        "=r,r", [like], dtype=tl.int32, is_pure=False, pack=1,
    )  # fmt: skip


@triton.jit
def of_tile(place, tile):
    """Where the block of a tile begins."""
    return place + tile % 2 * BLOCK


@triton.jit
def pairs_to_copy(B_ptr, C_ptr, B_state, C_state, lane):
    """The pair that a lane copies, 8 of B and 8 of C, of the first tile; from state to state."""
    is_C = lane % 16 >= 8
    return tl.where(is_C, C_ptr, B_ptr) + lane % 8, tl.where(is_C, C_state, B_state)


@triton.jit
def filled(
    place, lane, A_ptr, carry_in, states_before, pairs_ptr, pairs_state,
    channel, is_channel, is_later, entered, tile, L, dim, N,
):  # fmt: skip
    """All that the last tile, the first one to be done, finds in shared memory."""
    own = of_tile(place, tile) + lane * 4
    kept = place + KEPT + lane * 4
    pair = tile * 8 + lane % 8
    zero = tl.zeros(lane.shape, tl.float32)
    for n in range(N):
        at = n * dim + channel
        copy(own + n * ROW, states_before + at, is_later, 0)
        row = own + n * PAIRS_ROW
        pairs = pairs_ptr + n * pairs_state + tile * 8
        copy_some(row, pairs, pair * 2 < L, lane < 16, PROJECTIONS)
        write(own + n * ROW, tl.load(carry_in + at, entered, 0.0), GRADIENT)
        write(kept + n * ROW, tl.load(A_ptr + at, is_channel, 0.0) * LOG2_E, 0)
        write(kept + n * ROW, zero, GRADIENT)


@triton.jit
def all_states(
    delta, drive, dy, gB, dexponent, y, place, lane, quads, states_ptr, pairs_ptr, pairs_state,
    dB_ptr, dC_ptr, is_channel, tile, slot, start, dim, L, N,
    PAIRS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """All states through a tile and back; begins to copy what the tile before it needs.

    states_ptr: of a lane's channel. Returns gB, dexponent and y with what the states add, and
    zero or, where a sum was not finite, NaN.
    """
    has_states = is_channel & (tile > 1)
    has_pairs = (lane < 16) & (tile > 0)
    states_before = states_ptr + (tile - 2) * slot
    pairs_before = pairs_ptr + (tile - 1) * 8
    before = of_tile(place, tile + 1) + lane * 4
    place += arrived(tile)
    here = of_tile(place, tile)
    own = here + lane * 4
    kept = place + KEPT + lane * 4
    spoilt = tl.zeros(lane.shape, tl.float32)
    A = read(kept, 0)
    for n in range(N):
        next_A = read(kept + (n + 1) * ROW, 0)  # after the last state something that is not used
        h = read(own + n * ROW, 0)
        row = here + n * PAIRS_ROW
        B = read_four(row, PROJECTIONS) + read_four(row, PROJECTIONS + 16)
        C = read_four(row, PROJECTIONS + 32) + read_four(row, PROJECTIONS + 48)
        g = read(own + n * ROW, GRADIENT)
        dA = read(kept + n * ROW, GRADIENT)
        copy(before + n * ROW, states_before + n * dim, has_states, 0)
        row = before + n * PAIRS_ROW
        copy_some(row, pairs_before + n * pairs_state, True, has_pairs, PROJECTIONS)
        B_now = unpacked(B, PAIRS)
        C_now = unpacked(C, PAIRS)
        g, dA, gB, dexponent, y, dB, dC = one_state(
            delta, drive, dy, A, B_now, C_now, h, g, dA, gB, dexponent, y
        )
        write(before + n * ROW, g, GRADIENT)
        write(kept + n * ROW, dA, GRADIENT)
        total = store_lane_sums(
            dB, dC, dB_ptr + n * L, dC_ptr + n * L, start, L, lane, quads, PRECISION
        )
        spoilt += total * 0.0
        A = next_A
    return gB, dexponent, y, spoilt


@triton.jit
def store_gradients(place, lane, pointer, is_channel, dim, N):
    """The gradients of all states from a block, or from KEPT on, to a channel's in memory."""
    own = place + lane * 4
    for n in range(N):
        tl.store(pointer + n * dim, read(own + n * ROW, GRADIENT), is_channel)
