"""mamba-ssm's CUDA scan, where it is installed: a backend to compare with."""

from __future__ import annotations

import torch
from torch import Tensor


def selective_scan_mamba(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    return_last_state: bool,
) -> Tensor | tuple[Tensor, Tensor]:
    """As op.py's; RuntimeError for what mamba-ssm would refuse or get wrong."""
    for name, x in {"delta": delta, "B": B, "C": C, "z": z}.items():
        if x is not None and x.dtype != u.dtype:
            _refuse(f"{name} must have u's type, {u.dtype}, got {x.dtype}")
    if B.dim() == 2 or C.dim() == 2:
        _refuse("B and C must depend on time here, got one of shape (dim, N)")
    if A.shape[1] > 256:
        _refuse(f"it computes at most 256 states, got {A.shape[1]}")
    given = (u, delta, A, B, C, D, z, delta_bias)
    if return_last_state and torch.is_grad_enabled():
        if any(x is not None and x.requires_grad for x in given):
            _refuse("its last state has no gradient; ask for it under torch.no_grad()")
    try:
        from mamba_ssm.ops.selective_scan_interface import (  # type: ignore[import-not-found]
            selective_scan_fn,
        )
    except ImportError as error:
        raise RuntimeError(f"selective_scan: mamba-ssm cannot be imported: {error}") from error
    D, delta_bias = (None if x is None else x.float() for x in (D, delta_bias))
    return selective_scan_fn(
        u, delta, A.float(), B, C, D, z, delta_bias, delta_softplus, return_last_state
    )


def _refuse(reason: str) -> None:
    raise RuntimeError(f"selective_scan: the backend mamba was forced, but {reason}")
