"""Launches the selective scan's kernels: layouts, block sizes, memory for the results."""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..backends import interpreted
from .layout import STEPS, is_channels_last, laid_out, new_map, num_kept
from .triton_backward import scan_backward
from .triton_forward import scan_forward
from .triton_shared import ROWS


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """The output, laid out as u, and the states (tiles, batch, N, dim) after each tile of time.

    B, C: (batch, G, N, L) with the same G, any strides. Without save there is one tile in the
    states: after the last time.
    """
    (batch, dim, L), (groups, N) = u.shape, B.shape[1:3]
    channels_last = is_channels_last(u)
    B, C, pairs, unit = _projections(B, C)
    u, delta = laid_out(u, channels_last), laid_out(delta, channels_last)
    gate = u if z is None else laid_out(z, channels_last)  # not read where there is none
    out = new_map(u, u.dtype)
    kept = num_kept(L) if save else 1
    states = u.new_empty(kept, batch, N, dim, dtype=torch.float32)
    rows = _strides((u, delta, gate, out), channels_last)
    innermost = dim // groups if channels_last else L
    vector = _vector(u, innermost, rows)
    options = forward_options(dim // groups, N)
    grid = (triton.cdiv(dim // groups, options["CHANNELS"]) * groups * batch,)
    scan_forward[grid](
        u, delta, gate, out,
        A.t().float().contiguous(), B, C,
        u if D is None else D.contiguous(),
        u if delta_bias is None else delta_bias.contiguous(),
        states, batch, groups, dim // groups, L, N, *rows, *B.stride()[:3], *C.stride()[:3],
        HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=delta_bias is not None,
        SOFTPLUS=delta_softplus, SAVE=save,
        CHANNELS_LAST=channels_last, VECTOR=vector, STEPS=STEPS,
        B_CONSTANT=B.stride(3) == 0, C_CONSTANT=C.stride(3) == 0, PAIRS=pairs, UNIT=unit,
        **options,
    )  # fmt: skip
    return out, states


def backward(
    dout: Tensor,
    dlast: Tensor | None,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    states: Tensor,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of u, delta, A, B, C, D, z, delta_bias; dlast: (batch, dim, N)."""
    (batch, dim, L), (groups, N) = u.shape, B.shape[1:3]
    channels_last = is_channels_last(u)
    B_read, C_read, pairs, unit = _projections(B, C)
    u, delta = laid_out(u, channels_last), laid_out(delta, channels_last)
    dout = laid_out(dout, channels_last)
    gate = u if z is None else laid_out(z, channels_last)  # not read where there is none
    du, ddelta, dz = (
        new_map(u, x.dtype) if x is not None else u.new_empty(0) for x in (u, delta, z)
    )
    rows = _strides((u, delta, gate, dout, du), channels_last)
    innermost = dim // groups if channels_last else L
    vector = _vector(u, innermost, rows)
    options = backward_options(dim // groups, N, pairs is not None)
    if options["IN_SHARED"] and pairs == tl.bfloat16 and z is None and not channels_last:
        options["MAPS_IN_SHARED"] = _can_be_copied((u, delta, dout), vector)
    blocks = triton.cdiv(dim // groups, options["CHANNELS"])
    carry = u.new_empty(2, batch, N, dim, dtype=torch.float32)
    if dlast is not None:
        carry[(num_kept(L) - 1) % 2] = dlast.transpose(1, 2)
    constants = u.new_empty(batch, N + 2, dim, dtype=torch.float32)
    shares = u.new_empty(2, blocks, batch, groups, N, L, dtype=torch.float32)
    scan_backward[(blocks * groups * batch,)](
        u, delta, gate, dout, du, ddelta, dz,
        A.t().float().contiguous(), B_read, C_read,
        u if D is None else D.contiguous(),
        u if delta_bias is None else delta_bias.contiguous(),
        states, carry, constants, shares[0], shares[1],
        batch, groups, dim // groups, L, N, *rows, *B_read.stride()[:3], *C_read.stride()[:3],
        HAS_D=D is not None, HAS_Z=z is not None, HAS_BIAS=delta_bias is not None,
        SOFTPLUS=delta_softplus, HAS_DLAST=dlast is not None,
        CHANNELS_LAST=channels_last,
        VECTOR=vector, STEPS=STEPS,
        PRECISION="tf32" if B.dtype == C.dtype == torch.bfloat16 else "tf32x3",
        B_CONSTANT=B_read.stride(3) == 0, C_CONSTANT=C_read.stride(3) == 0, PAIRS=pairs, UNIT=unit,
        **options,
    )  # fmt: skip
    dB, dC = (x.new_empty(batch, groups, N, L) for x in (B, C))
    numel, block = dB.numel(), 1024
    sum_shares[(triton.cdiv(numel, block), 2)](shares, dB, dC, numel, blocks, BLOCK=block)
    total = constants.sum(0)
    return (
        du,
        ddelta,
        total[:N].t().to(A.dtype, memory_format=torch.contiguous_format, copy=True),
        dB,
        dC,
        u.new_empty(0) if D is None else total[N].to(D.dtype, copy=True),
        dz,
        u.new_empty(0) if delta_bias is None else total[N + 1].to(delta_bias.dtype, copy=True),
    )


@triton.jit(do_not_specialize=["num_shares"])
def sum_shares(shares_ptr, dB_ptr, dC_ptr, numel, num_shares, BLOCK: tl.constexpr):
    """The sum over blocks of channels, (2, num_shares, numel) -> dB and dC, in their types."""
    which = tl.program_id(1)
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    shares_ptr += which.to(tl.int64) * num_shares * numel
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(num_shares):
        total += tl.load(shares_ptr + at, at < numel, 0.0)
        shares_ptr += numel
    if which == 0:
        tl.store(dB_ptr + at, total.to(dB_ptr.dtype.element_ty), at < numel)
    else:
        tl.store(dC_ptr + at, total.to(dC_ptr.dtype.element_ty), at < numel)


def forward_options(channels: int, num_states: int) -> dict[str, int]:
    """How the forward is compiled and cut into programs; channels: of a group.

    Of one or two states the scan waits for memory: they are kept in registers, and maps are read
    64 bytes of a channel at once and well ahead. Of more it computes: a thread has two channels,
    which share what is read of B and C. num_stages is what loops have that are not asked for their
    own: nothing runs ahead.
    """
    if num_states <= 2:
        ways = {"HELD": num_states, "TILES": 2, "STAGES": 3, **_block(channels)}
    else:
        ways = {"HELD": 0, "TILES": 1, "STAGES": 1, **_block(channels), "num_warps": 1}
    return ways | {"UNROLL": 2 if num_states % 2 == 0 else 1, "num_stages": 1}


def backward_options(channels: int, num_states: int, paired: bool) -> dict[str, int]:
    """The same of the backward, whose registers have room for one state and one channel.

    Of more than one state a program is one warp, so that sums over channels stay in its registers,
    but for the interpreter, which has no lanes. Up to 16 states, with B and C in pairs (paired),
    have what they need in its shared memory, 14 KiB, and of bfloat16 with rows of times also maps,
    6 KiB; for more there would be fewer warps.
    """
    if num_states == 1:
        ways = {"HELD": 1, "TILES": 1, "STAGES": 3, "IN_LANES": False, **_block(channels)}
    else:
        ways = {"HELD": 0, "TILES": 1, "STAGES": 1, "IN_LANES": not interpreted()}
        ways |= {"CHANNELS": 32, "num_warps": 1}
    in_shared = ways["IN_LANES"] and paired and num_states <= ROWS.value
    return ways | {"IN_SHARED": in_shared, "MAPS_IN_SHARED": False, "num_stages": 1}


def _block(channels: int) -> dict[str, int]:
    """32 or 64 channels a program, whatever leaves fewer lanes idle, one a thread."""
    block = 64 if -channels % 64 <= -channels % 32 else 32
    return {"CHANNELS": block, "num_warps": block // 32}


def _projections(B: Tensor, C: Tensor) -> tuple[Tensor, Tensor, tl.dtype | None, int]:
    """B and C with stride 1 along time (0: the same at all times), as int32 pairs if they can be.

    The third is the type in the pairs, None if there are none. The last, in pairs, divides the
    length and all strides.
    """
    B, C = (x if x.stride(3) in (0, 1) else x.contiguous() for x in (B, C))
    common = math.gcd(8, *(n for x in (B, C) for n in (x.shape[3], *x.stride()[:3])))
    common = math.gcd(common, *(x.data_ptr() // x.element_size() for x in (B, C)))
    paired = B.dtype == C.dtype and B.element_size() == 2 and common % 2 == 0
    if not paired or 0 in (B.stride(3), C.stride(3)):
        return B, C, None, 1
    pairs = tl.bfloat16 if B.dtype == torch.bfloat16 else tl.float16
    return B.view(torch.int32), C.view(torch.int32), pairs, common // 2


def _strides(maps: tuple[Tensor, ...], channels_last: bool) -> list[int]:
    """Of each map the batch stride and that of the axis which is not innermost."""
    return [x.stride(axis) for x in maps for axis in (0, 2 if channels_last else 1)]


def _vector(u: Tensor, innermost: int, strides: list[int]) -> int:
    """What divides all strides, up to 16 bytes of elements."""
    common = math.gcd(16 // u.element_size(), innermost, *strides)
    return common if common >= 4 else 1


def _can_be_copied(maps: tuple[Tensor, ...], vector: int) -> bool:
    """Whether all are bfloat16 and begin where a copy of so many elements may begin."""
    return vector > 1 and all(
        x.dtype == torch.bfloat16 and x.data_ptr() % (2 * vector) == 0 for x in maps
    )
