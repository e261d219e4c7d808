"""Sums over the lanes of a warp, where a lane has one channel: in registers, by the matrix units.

The matrix units want a lane's share of a factor (a fragment) in registers of its own. Which lane
holds which channel does not matter for a sum over channels, so that 16 numbers of a lane, its
times, are four fragments as they are: nothing is brought into place through shared memory, and no
warp waits for another.

mma.sync.m16n8k8 (PTX ISA), lane l: of A a0 is (row l/4, k l%4), a1 (row l/4 + 8, the same k), a2
(row l/4, k l%4 + 4), a3 (row l/4 + 8, k l%4 + 4); of B b0 is (k l%4, column l/4), b1 (k l%4 + 4,
column l/4); of the result c0 and c1 are (row l/4, columns 2 (l%4) and one more), c2 and c3 the same
of row l/4 + 8.

A row mixes two times of a lane, which zeros in B part again: a number that is not finite spoils
the others, since 0 NaN is NaN. Who sums must look, and where it is so sum in another way.
"""

# mypy: ignore-errors
# (Triton's language is no Python that a type checker knows)

import triton
import triton.language as tl

# The matrix units cut a float32 to tf32's 10 bits instead of rounding it: on average 0.72 / 2^11
# of a number is lost (mantissas spread evenly in the logarithm).
TRUNCATION = tl.constexpr(1 + 0.7213 / 2**11)


@triton.jit
def lane_number(like):
    """The lane's number in its warp, in the shape of the integers `like`."""
    return tl.inline_asm_elementwise(
        "{ .reg .b32 keep; mov.b32 keep, $1; mov.u32 $0, %laneid; }",
        "=r,r", [like], dtype=tl.int32, is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def selectors(lane):
    """The bits of 1.0 where l/4 == i, else 0, for i = 0 .. 7."""
    found = ()
    for i in tl.static_range(8):
        found += (tl.where(lane // 4 == i, 0x3F800000, 0),)
    return found


@triton.jit
def lane_sums(a, b, lane, s, EXACT: tl.constexpr):
    """16 + 16 numbers a lane -> one: the sum over all lanes of the number that `place` says.

    s: the selectors. EXACT: all bits of a float32 are summed, not only tf32's.
    """
    total = _scattered(_quad_sums(a, s, EXACT), _quad_sums(b, s, EXACT), lane)
    return total if EXACT else total * TRUNCATION


@triton.jit
def place(lane):
    """Whether a lane's sum is one of b, and which of the 16."""
    part = lane // 4  # 0 .. 7: c0 .. c3 of a, then of b; c1 is the third of four numbers
    return part >= 4, 4 * (lane % 4) + (part & 1) * 2 + ((part & 2) >> 1)


@triton.jit
def _quad_sums(v, s, EXACT: tl.constexpr):
    """16 numbers a lane -> 4: sums over the lanes of its quad l/4, of the 4 (l%4) + (0, 2, 1, 3)th.

    The numbers 4 j .. 4 j + 3 are a0 .. a3, and B has ones for k < 4 in column 2 j and for the
    other k in the next column: those two columns get what the quad's lanes have.
    """
    zero = tl.zeros(v[0].shape, tl.float32)
    sums = fragment_products(v, s, (zero, zero, zero, zero))
    if EXACT:
        rest = ()
        for i in tl.static_range(16):
            read = v[i].to(tl.int32, bitcast=True) & -8192  # what the matrix units read of it
            rest += (v[i] - read.to(tl.float32, bitcast=True),)
        sums = fragment_products(rest, s, sums)
    return sums


@triton.jit
def fragment_products(v, s, c):
    """c plus the four products of fragments v, four numbers each, and of selectors s, two each."""
    a = ()
    for i in tl.static_range(16):
        a += (v[i].to(tl.int32, bitcast=True),)
    return tl.inline_asm_elementwise(
        """{
        .reg .f32 p<4>, q<4>, r<4>;
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32
            {p0,p1,p2,p3}, {$4,$5,$6,$7}, {$20,$21}, {$28,$29,$30,$31};
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32
            {q0,q1,q2,q3}, {$8,$9,$10,$11}, {$22,$23}, {p0,p1,p2,p3};
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32
            {r0,r1,r2,r3}, {$12,$13,$14,$15}, {$24,$25}, {q0,q1,q2,q3};
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32
            {$0,$1,$2,$3}, {$16,$17,$18,$19}, {$26,$27}, {r0,r1,r2,r3};
        }""",
        "=f,=f,=f,=f,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,r,f,f,f,f",
        [
            a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7],
            a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15],
            s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], c[0], c[1], c[2], c[3],
        ],
        dtype=(tl.float32, tl.float32, tl.float32, tl.float32), is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def exchanged(offer, DISTANCE: tl.constexpr):
    """What the lane offers whose number differs in the bit DISTANCE."""
    return tl.inline_asm_elementwise(
        f"shfl.sync.bfly.b32 $0, $1, {DISTANCE}, 31, -1;",
        "=f,f", [offer], dtype=tl.float32, is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def _scattered(a, b, lane):
    """4 + 4 sums of quads -> one sum over all quads: a lane of quad i gets the ith of a0 .. b3.

    Three times the half that is wanted elsewhere is given for the half that is wanted here.
    """
    upper = (lane & 16) != 0
    four = ()
    for i in tl.static_range(4):
        given = exchanged(tl.where(upper, a[i], b[i]), 16)
        four += (tl.where(upper, b[i], a[i]) + given,)
    upper = (lane & 8) != 0
    two = ()
    for i in tl.static_range(2):
        given = exchanged(tl.where(upper, four[i], four[i + 2]), 8)
        two += (tl.where(upper, four[i + 2], four[i]) + given,)
    upper = (lane & 4) != 0
    return tl.where(upper, two[1], two[0]) + exchanged(tl.where(upper, two[0], two[1]), 4)
