"""The scan as a handful of plain operators: what can be traced, scripted and exported.

The recurrence is solved by doubling (Hillis & Steele 1986): after step i each position holds what
the last 2^i positions make of it, so that ceil(log2 L) steps over whole tensors are enough. It
does more work than the reference, in a graph that stays small: a loop over positions would leave
thousands of nodes in an ONNX file.
"""

from __future__ import annotations

from typing import Optional

import torch
from torch import Tensor
from torch.nn import functional as F


def selective_scan_traceable(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor],  # noqa: UP045 (TorchScript reads these annotations)
    z: Optional[Tensor],  # noqa: UP045
    delta_bias: Optional[Tensor],  # noqa: UP045
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """The output (batch, dim, L) and the last state (batch, dim, N); arguments as in op.py."""
    dtype = u.dtype if u.dtype == torch.float64 else torch.float32
    batch, dim, L = u.shape
    groups = max(B.shape[1] if B.dim() == 4 else 1, C.shape[1] if C.dim() == 4 else 1)
    x, dt = u.to(dtype), delta.to(dtype)
    if delta_bias is not None:
        dt = dt + delta_bias.to(dtype).unsqueeze(-1)
    if delta_softplus:
        dt = F.softplus(dt)
    grouped = (batch, groups, dim // groups, 1, L)
    step = dt.view(grouped)
    kept = torch.exp(step * _constant(A, groups, dtype))  # (batch, G, E, N, L)
    h = step * x.view(grouped) * _projection(B, groups, dtype)
    if L == 1:
        h = h + 0 * kept  # nothing is kept of no past, but A has a gradient of zero
    shift = 1
    while shift < L:
        h = torch.cat((h[..., :shift], h[..., shift:] + kept[..., shift:] * h[..., :-shift]), -1)
        kept = torch.cat((kept[..., :shift], kept[..., shift:] * kept[..., :-shift]), -1)
        shift = 2 * shift
    y = (h * _projection(C, groups, dtype)).sum(3).view(batch, dim, L)
    if D is not None:
        y = y + x * D.to(dtype).unsqueeze(-1)
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y.to(u.dtype), h[..., -1].flatten(1, 2)


def _constant(x: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """(dim, N) -> (1, G, E, N, 1)."""
    return x.to(dtype).view(1, groups, -1, x.shape[1], 1)


def _projection(x: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """B or C in any of its layouts -> (1, G, E, N, 1) or (batch, G or 1, 1, N, L)."""
    if x.dim() == 2:
        return _constant(x, groups, dtype)
    if x.dim() == 3:
        return x.to(dtype)[:, None, None]
    return x.to(dtype).unsqueeze(2)
