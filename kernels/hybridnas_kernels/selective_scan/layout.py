"""How the scan's tensors lie in memory; what the fakes and the kernels must agree on."""

from __future__ import annotations

import torch
from torch import Tensor

STEPS = 16  # times that a kernel works on at once; after each tile the forward keeps the states


def num_kept(length: int) -> int:
    return (length + STEPS - 1) // STEPS


def is_channels_last(u: Tensor) -> bool:
    """Whether (batch, dim, L) lies in memory with dim innermost; results follow u in that."""
    return u.stride(2) != 1 and u.stride(1) == 1


def new_map(u: Tensor, dtype: torch.dtype) -> Tensor:
    """A fresh map (batch, dim, L), dense, channels last if u is."""
    batch, dim, length = u.shape
    if is_channels_last(u):
        return u.new_empty(batch, length, dim, dtype=dtype).transpose(1, 2)
    return u.new_empty(batch, dim, length, dtype=dtype)


def laid_out(x: Tensor, channels_last: bool) -> Tensor:
    """x itself, or a copy, with the innermost axis that the kernels read along."""
    if channels_last:
        return x if x.stride(1) == 1 else x.transpose(1, 2).contiguous().transpose(1, 2)
    return x if x.stride(2) == 1 else x.contiguous()
