"""What the forward and the backward kernel share: the rows of tiles, softplus, the merge.

A tile is (T, E): T positions in the order of the scan by E channels. Steps from one position to
the next are scalar for each channel, so that a thread should own a channel, with all its T values
in registers; Triton has no word for that, but halving a tile down to its rows has that effect.
"""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows)

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def exp2(x, FAST: tl.constexpr):
    """2^x; FAST: one instruction, which flushes denormals."""
    if FAST:
        return tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        return tl.exp2(x)


@triton.jit
def softplus(x, FAST: tl.constexpr):
    """log(1 + e^x); FAST: within 2e-7 of it, which 16-bit inputs do not resolve."""
    small = exp2(tl.abs(x) * -LOG2E, FAST)
    one_more = 1.0 + small
    if FAST:
        log2 = tl.inline_asm_elementwise(
            "lg2.approx.ftz.f32 $0, $1;",
            "=f,f",
            [one_more],
            dtype=tl.float32,
            is_pure=True,
            pack=1,
        )
        return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + log2 * LN2
    else:
        # The second factor makes up for what 1 + small lost of small (Kahan's log1p).
        lost = one_more - 1.0
        safe = tl.where(lost == 0.0, 1.0, lost)
        log = tl.where(lost == 0.0, small, tl.log(one_more) * (small / safe))
        return tl.maximum(x, 0.0, propagate_nan=tl.PropagateNan.ALL) + log


@triton.jit
def rows(tile):
    """(T, E) -> a tuple of T rows (1, E), at the cost of one change of layout."""
    if tile.shape[0] == 1:
        return (tile,)
    else:
        T: tl.constexpr = tile.shape[0] // 2
        E: tl.constexpr = tile.shape[1]
        first, last = tl.split(tile.reshape(2, T, E).permute(1, 2, 0))
        return rows(first) + rows(last)


@triton.jit
def stacked(rows, T: tl.constexpr, start: tl.constexpr = 0):
    """The inverse of rows(): T rows (1, E), from the one numbered start on -> (T, E)."""
    if T == 1:
        return rows[start]
    else:
        E: tl.constexpr = rows[0].shape[1]
        first = stacked(rows, T // 2, start)
        last = stacked(rows, T // 2, start + T // 2)
        return tl.join(first, last).permute(2, 0, 1).reshape(T, E)


@triton.jit
def columns(tile):
    """The inverse of upright(): (E, T) -> T rows (1, E)."""
    E: tl.constexpr = tile.shape[0]
    if tile.shape[1] == 1:
        return (tile.reshape(1, E),)
    else:
        T: tl.constexpr = tile.shape[1]
        even, odd = tl.split(tile.reshape(E, T // 2, 2))
        evens, odds = columns(even), columns(odd)
        parts = ()
        for t in tl.static_range(T // 2):
            parts += (evens[t], odds[t])
        return parts


@triton.jit
def opaque(tile, FAST: tl.constexpr):
    """A tile of 16-bit numbers itself, of which the compiler does not see how it was made.

    Triton takes an operand of a product that was joined from parts for one that was packed, and
    loads it in an order that costs as many moves as the product is worth.
    """
    if FAST:
        return tl.inline_asm_elementwise(
            "mov.b32 $0, $1;", "=r,r", [tile], dtype=tile.dtype, is_pure=False, pack=2
        )
    else:
        return tile


@triton.jit
def upright(rows):
    """T rows (1, E) -> (E, T). A lane then holds neighbours: products read it for less."""
    E: tl.constexpr = rows[0].shape[1]
    columns = ()
    for t in tl.static_range(len(rows)):
        columns += (rows[t].reshape(E, 1),)
    return _beside(columns)


@triton.jit
def _beside(columns):
    if len(columns) == 1:
        return columns[0]
    else:
        E: tl.constexpr = columns[0].shape[0]
        T: tl.constexpr = len(columns)
        even, odd = (), ()
        for t in tl.static_range(T // 2):
            even += (columns[2 * t],)
            odd += (columns[2 * t + 1],)
        return tl.join(_beside(even), _beside(odd)).reshape(E, T)


@triton.jit
def read_dt(row_ptr, on_map, R, RANK: tl.constexpr, N: tl.constexpr, GROUP: tl.constexpr):
    """dt (T, RANK) from the addresses (T, 1) of rows of dbc, and if GROUP is N all b and c."""
    rank = tl.arange(0, RANK)[None, :]
    dt = tl.load(row_ptr + rank, mask=on_map & (rank < R), other=0.0)
    pairs = ()
    if GROUP == N:
        for n in tl.static_range(N):
            pairs += (read_pair(row_ptr + R + n, on_map, N),)
    return dt, pairs


@triton.jit
def read_pair(b_ptr, on_map, N):
    """b and c of one state, (T, 2), from the addresses (T, 1) of b; c lies N further."""
    return tl.load(b_ptr + tl.arange(0, 2)[None, :] * N, mask=on_map, other=0.0)


@triton.jit
def read_word(b_ptr, on_map):
    """The same where N is 1 and b's address even, of 16 bits as words (one for each column).

    What is four bytes wide can be read ahead into shared memory.
    """
    if b_ptr.dtype.element_ty.primitive_bitwidth == 16:
        word_ptr = b_ptr.to(tl.pointer_type(tl.int32)) + tl.arange(0, 2)[None, :] * 0
        return tl.load(word_ptr, mask=on_map, other=0)
    else:
        return read_pair(b_ptr, on_map, 1)


@triton.jit
def pair_rows(pair, TYPE: tl.constexpr):
    """The rows (1, 1) of b and those of c, float32, from pairs or words of numbers of that type."""
    if pair.dtype == tl.int32:
        is_b = tl.arange(0, 2)[None, :] == 0
        if TYPE == tl.bfloat16:  # the upper half of a float32
            upper = tl.where(is_b, pair << 16, pair & -65536)
            pair = upper.to(tl.float32, bitcast=True)
        else:
            half = tl.where(is_b, pair, pair >> 16).to(tl.int16)
            pair = half.to(TYPE, bitcast=True)
    b, c = tl.split(pair.to(tl.float32))
    return rows(b[:, None]), rows(c[:, None])


@triton.jit
def merge_kernel(maps_ptr, out_ptr, size, K: tl.constexpr, BLOCK: tl.constexpr):
    """out (size,) = the sum of maps (K, size), in float32."""
    sum_block(tl.program_id(0), maps_ptr, out_ptr, size, K, BLOCK)


@triton.jit
def sum_block(block, maps_ptr, out_ptr, size, K: tl.constexpr, BLOCK: tl.constexpr):
    """One block of merge_kernel's."""
    at = block.to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    total = tl.full([BLOCK], 0.0, tl.float32)
    for _k in tl.static_range(K):
        total += tl.load(maps_ptr + at, mask=at < size, other=0.0).to(tl.float32)
        maps_ptr += size
    tl.store(out_ptr + at, total, mask=at < size)
