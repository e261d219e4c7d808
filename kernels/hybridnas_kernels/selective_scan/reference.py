"""The selective scan in PyTorch: the definition that faster versions are held to.

Source: Gu & Dao 2023, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
arXiv 2312.00752, equation 2 and algorithm 2.

Only elementwise products and sums: counters of MACs see 0 here (the scan's MACs are added by
formula), and torch.autocast has no matrix product to lower to 16 bits.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from .recurrence import linear_recurrence_


def selective_scan_reference(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
) -> tuple[Tensor, Tensor]:
    """The output (batch, dim, L) and the last state (batch, dim, N); arguments as in op.py.

    The output has u's dtype, the state float32 (float64 if u has); shapes are not checked here.
    """
    groups = max(x.shape[1] if x.dim() == 4 else 1 for x in (B, C))
    dtype = torch.promote_types(u.dtype, torch.float32)

    x = _time_first(u, dtype)  # (L, batch, dim)
    dt = _time_first(delta, dtype)
    if delta_bias is not None:
        dt = dt + delta_bias.to(dtype)
    if delta_softplus:
        dt = F.softplus(dt)

    y, last = _scan(
        x.view(*x.shape[:2], groups, -1),
        dt.view(*x.shape[:2], groups, -1),
        _constant(A, groups, dtype),
        _projection(B, groups, dtype),
        _projection(C, groups, dtype),
    )
    y = y.flatten(-2)  # (L, batch, dim)
    if D is not None:
        y = y + D.to(dtype) * x
    if z is not None:
        y = y * F.silu(_time_first(z, dtype))
    last_state = last.permute(1, 2, 3, 0).flatten(1, 2)  # (batch, dim, N)
    return y.permute(1, 2, 0).to(u.dtype), last_state


def _scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """y (L, batch, G, E) and the last state (N, batch, G, E); G groups of E channels.

    x, dt: (L, batch, G, E); A, B, C: whatever broadcasts with the states, (L, N, batch, G, E).
    Time leads, so that a step is a slice; channels come last, since N is as small as 1.
    """
    y, last = _Scan.apply(x, dt, A, B, C)
    return y, last


class _Scan(torch.autograd.Function):
    """One function with a backward of its own, derived in kernels/README.md.

    Left to autograd, the products around the recurrence each keep or make a tensor as large as
    the states; on a CPU that took up to four times as long. Here only the states are kept.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor
    ) -> tuple[Tensor, Tensor]:
        decay = (dt.unsqueeze(1) * A).exp_()  # (L, N, batch, G, E)
        h = linear_recurrence_(decay, (dt * x).unsqueeze(1) * B)
        ctx.save_for_backward(x, dt, A, B, C, h)
        y = torch.zeros_like(x)
        for n in range(h.shape[1]):  # no product as large as h for the sake of a sum over it
            y.addcmul_(C[:, n], h[:, n])
        return y, h[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, dy: Tensor, dlast: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x, dt, A, B, C, h = ctx.saved_tensors  # type: ignore[attr-defined]
        dy = dy.contiguous()
        decay = (dt.unsqueeze(1) * A).exp_()  # again: an exp is cheaper than holding it
        g = dy.unsqueeze(1) * C
        g[-1] += dlast
        linear_recurrence_(decay, g, reverse=True)  # the gradient of each h[t], all it does later

        dA, dB, dC = torch.empty_like(A), torch.empty_like(B), torch.empty_like(C)
        d_dt, d_drive = torch.zeros_like(dt), torch.zeros_like(dt)  # drive is dt * x
        drive = dt * x
        for n in range(h.shape[1]):
            dC[:, n] = (dy * h[:, n]).sum_to_size(dC[:, n].shape)
            dB[:, n] = (drive * g[:, n]).sum_to_size(dB[:, n].shape)
            d_drive.addcmul_(B[:, n], g[:, n])
            d_exponent = decay[:, n]  # of dt * A: d_exponent[t] = decay[t] g[t] h[t-1]
            d_exponent[0] = 0
            d_exponent[1:].mul_(g[1:, n]).mul_(h[:-1, n])
            dA[:, n] = (dt * d_exponent).sum_to_size(dA[:, n].shape)
            d_dt.addcmul_(A[:, n], d_exponent)
        d_dt.addcmul_(d_drive, x)
        return d_drive.mul_(dt), d_dt, dA, dB, dC


def _time_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(batch, dim, L) -> (L, batch, dim), contiguous: what is computed from it inherits that."""
    return x.permute(2, 0, 1).to(dtype, memory_format=torch.contiguous_format).contiguous()


def _constant(x: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """(dim, N) -> (1, N, 1, G, E)."""
    return x.to(dtype).t().reshape(1, x.shape[1], 1, groups, -1)


def _projection(x: Tensor, groups: int, dtype: torch.dtype) -> Tensor:
    """B or C in any of its layouts -> (1, N, 1, G, E) or (L, N, batch, G or 1, 1)."""
    if x.dim() == 2:
        return _constant(x, groups, dtype)
    if x.dim() == 3:
        x = x.unsqueeze(1)
    x = x.permute(3, 2, 0, 1).to(dtype, memory_format=torch.contiguous_format).contiguous()
    return x.unsqueeze(-1)
