"""The door to the selective scan: checks the arguments, then runs an implementation."""

from __future__ import annotations

from typing import Literal, overload

import torch
from torch import Tensor

from ..backends import choose, is_traced
from .custom_op import SelectiveScan
from .mamba import selective_scan_mamba
from .reference import selective_scan_reference
from .traceable import selective_scan_traceable


@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: Literal[False] = False,
    backend: str | None = None,
) -> Tensor: ...
@overload
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    return_last_state: Literal[True],
    backend: str | None = None,
) -> tuple[Tensor, Tensor]: ...
def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Mamba's selective scan (Gu & Dao 2023, arXiv 2312.00752), as mamba-ssm's selective_scan_fn.

        delta <- delta + delta_bias, then softplus if delta_softplus
        h[t]   = exp(delta[t] A) h[t-1] + delta[t] B[t] u[t],  h[-1] = 0
        out[t] = (C[t] . h[t] + D u[t]) * silu(z[t])

    u, delta, z: (batch, dim, L), L >= 1. A: (dim, N), real; below 0 for a state that fades.
    B, C: (dim, N), the same at all times; (batch, N, L), shared by all channels; or
    (batch, G, N, L), where G divides dim and group g serves the g-th run of dim / G channels.
    D, delta_bias: (dim,).

    Returns out (batch, dim, L) in u's dtype, and with return_last_state also h[L-1],
    (batch, dim, N). State and arithmetic are float32 (float64 if u is), under autocast too.
    Strides of the results are not promised. Differentiable once in every tensor, also through
    the last state. Shapes that do not fit raise ValueError.

    backend: "auto", "triton", "torch" or "mamba" (mamba-ssm, where it is installed; the last
    state has no gradient there); None: the environment variable HYBRIDNAS_KERNELS, else "auto".
    A forced one that cannot run raises RuntimeError.
    """
    _check(u, delta, A, B, C, D, z, delta_bias)
    chosen = choose("selective_scan", backend, u, ("triton", "torch", "mamba"))
    if chosen == "triton":
        given = (u, delta, A, *_grouped(B, C, u), D, z, delta_bias)
        save = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in given)
        out, last_state = SelectiveScan.apply(*given, delta_softplus, save, return_last_state)
    elif chosen == "mamba":
        return selective_scan_mamba(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state
        )
    else:
        traced = is_traced() or torch.compiler.is_compiling()
        scan = selective_scan_traceable if traced else selective_scan_reference
        out, last_state = scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
    return (out, last_state) if return_last_state else out


def _grouped(B: Tensor, C: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """B and C as (batch, G, N, L) with the same G, without copies where views can say it."""
    batch, dim, length = u.shape

    def in_groups(x: Tensor) -> Tensor:
        if x.dim() == 2:  # the same at all times: each channel is a group of its own
            return x[None, :, :, None].expand(batch, dim, x.shape[1], length)
        return x if x.dim() == 4 else x.unsqueeze(1)

    B, C = in_groups(B), in_groups(C)
    groups = max(B.shape[1], C.shape[1])

    def repeated(x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return x.expand(-1, groups, -1, -1)
        return x.repeat_interleave(groups // x.shape[1], dim=1) if x.shape[1] < groups else x

    return repeated(B), repeated(C)


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if u.dim() != 3 or u.shape[-1] == 0:
        raise ValueError(f"u must be (batch, dim, L) with L >= 1, got {tuple(u.shape)}")
    if A.dim() != 2 or A.shape[0] != u.shape[1] or A.shape[1] == 0:
        raise ValueError(
            f"A must be (dim, N) with dim = {u.shape[1]} and N >= 1, got {tuple(A.shape)}"
        )
    optional = {"D": D, "z": z, "delta_bias": delta_bias}
    given = {name: x for name, x in optional.items() if x is not None}
    for name, x in {"u": u, "delta": delta, "A": A, "B": B, "C": C, **given}.items():
        if not x.is_floating_point():
            raise ValueError(f"{name} must hold real floating-point numbers, got {x.dtype}")
    for name, x in {"delta": delta, **given}.items():
        layout, shape = (
            ("(batch, dim, L)", u.shape) if name in ("delta", "z") else ("(dim,)", A.shape[:1])
        )
        if x.shape != shape:
            raise ValueError(f"{name} must be {layout} = {tuple(shape)}, got {tuple(x.shape)}")
    groups_b, groups_c = _groups("B", B, u, A), _groups("C", C, u, A)
    if groups_b != groups_c and groups_b != 1 and groups_c != 1:
        raise ValueError(
            f"B and C must have the same number of groups, or one of them a single group; "
            f"got B {tuple(B.shape)} and C {tuple(C.shape)}"
        )


def _groups(name: str, x: Tensor, u: Tensor, A: Tensor) -> int:
    """The number of groups of B or C; raises ValueError if its shape does not fit u and A."""
    (batch, dim, length), num_states = u.shape, A.shape[1]
    got = tuple(x.shape)
    # By their number of axes first: torch.export would guard against a batch as large as dim.
    if got == {2: (dim, num_states), 3: (batch, num_states, length)}.get(len(got)):
        return 1
    if x.dim() != 4 or (got[0], *got[2:]) != (batch, num_states, length):
        raise ValueError(
            f"{name} must be (dim, N) = {(dim, num_states)}, "
            f"(batch, N, L) = {(batch, num_states, length)}, or "
            f"(batch, G, N, L) = ({batch}, G, {num_states}, {length}); got {got}"
        )
    if got[1] == 0 or dim % got[1]:
        raise ValueError(
            f"{name} has {got[1]} groups (dim 1 of its shape {got}), "
            f"which do not divide the {dim} channels of u"
        )
    return got[1]
