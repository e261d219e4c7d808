"""h[t] = a[t] h[t-1] + b[t] in about 4 sqrt(L) steps instead of L; derived in kernels/README.md."""

from __future__ import annotations

from itertools import pairwise
from math import isqrt

import torch
from torch import Tensor


def linear_recurrence_(a: Tensor, b: Tensor, reverse: bool = False) -> Tensor:
    """Solve a linear recurrence along dim 0 and leave the solution in b, which is returned.

    h[t] = a[t] h[t-1] + b[t], from zero before the first step; if reverse,
    h[t] = a[t+1] h[t+1] + b[t], from zero after the last: the transpose of the former, which its
    gradient needs. Both leave a[0] unread.

    a, b: (L, ...), one shape and dtype, L >= 1. Nothing is divided, so that a decay may
    underflow to 0. Autograd does not see this function: call it inside an autograd.Function.
    """
    if reverse:
        _solve(a[1:], b[:-1], start=b[-1], step=-1)
    else:
        _solve(a[1:], b[1:], start=b[0], step=1)
    return b


def _solve(a: Tensor, b: Tensor, start: Tensor, step: int) -> None:
    """b[t] <- a[t] * b[t - step] + b[t], where `start` stands before the first row.

    a, b: (n, ...), n >= 0; start: (...). step: 1 goes up in time, -1 goes down.
    """
    n = a.shape[0]
    if n == 0:
        return
    size, num = _chunks(n)
    # Rows that fill no chunk are left for the end: the last ones going up, the first going down.
    first = 0 if step == 1 else n - num * size
    rest = range(num * size, n) if step == 1 else range(first - 1, -1, -1)

    def positions(x: Tensor) -> tuple[Tensor, ...]:  # a (num, ...) view for each, first to do first
        whole = x[first : first + num * size].view(num, size, *x.shape[1:])
        return whole.unbind(1)[::step]

    steps = list(zip(positions(a), positions(b), strict=True))

    # 1. What each chunk makes out of a zero state, and how much it keeps of the state before it.
    kept, made = (x.clone() for x in steps[0])
    for decay, drive in steps[1:]:
        torch.addcmul(drive, decay, made, out=made)
        kept.mul_(decay)

    # 2. From chunk to chunk: the state before each.
    before = torch.empty_like(made)
    order = range(num)[::step]
    before[order[0]] = start
    for here, after in pairwise(order):
        torch.addcmul(made[here], kept[here], before[here], out=before[after])

    # 3. All chunks again, from the right states. It reads no more than correcting the solutions
    #    of step 1 would, and those and all products of decays need not be stored.
    state = before
    for decay, drive in steps:
        state = drive.addcmul_(decay, state)
    state = state[order[-1]]
    for t in rest:
        state = b[t].addcmul_(a[t], state)


def _chunks(n: int) -> tuple[int, int]:
    """(rows in a chunk, number of chunks): both near sqrt(n), few rows left over."""
    size = min(range(1, isqrt(n) + 1), key=lambda s: s + n // s + n % s)
    return size, n // size
