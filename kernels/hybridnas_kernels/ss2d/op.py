"""The door to ss2d: checks the arguments, then runs an implementation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from .. import backends
from .custom_op import SS2D
from .orders import Direction
from .reference import ss2d_reference, ss2d_traceable


def ss2d(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    directions: Sequence[Direction],
    *,
    backend: str | None = None,
) -> Tensor:
    """The selective scan of a map along K directions and the sum of its outputs: VMamba's SS2D
    (Liu et al. 2024, arXiv 2401.10166), with the directions of LocalMamba (arXiv 2403.09338).

    Along each direction k, with (dt, b, c) the k-th part of dbc at the position that is read,

        delta = softplus(dt_weight[k] dt + dt_bias[k])
        h     = exp(delta A[k]) h + delta b x        h = 0 at first
        y    += c . h + D[k] x                       at that position

    x: (B, H, W, C). dbc: (B, H, W, K (R + 2 N)), a projection of x: for each direction dt (R),
    b (N), c (N). dt_weight: (K, C, R). A: (K, C, N), real; below 0 for a state that fades.
    D, dt_bias: (K, C). directions: K of (window, flip); orders.py says what they read. Where
    windows reach past the map x and dbc are zero, so the state there only decays.

    Returns (B, H, W, C) in x's dtype. State and arithmetic are float32 (float64 if x is), under
    autocast too; products with dt_weight have operands of dbc's dtype, which autocast lowers.
    Differentiable once in every tensor. Shapes that do not fit raise ValueError. backend: triton,
    torch, or None for what backends.choose() says.
    """
    _check(x, dbc, dt_weight, A, D, dt_bias, directions)
    orders = [(int(window), bool(flip)) for window, flip in directions]
    dtype = backends.autocast_dtype(x)
    if dtype is not None and dbc.dtype == torch.float32:
        dbc = dbc.to(dtype)
    if backends.choose("ss2d", backend, x) == "triton":
        tensors = (x, dbc, dt_weight, A, D, dt_bias)
        keep_states = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        windows, flips = [order[0] for order in orders], [order[1] for order in orders]
        y: Tensor = SS2D.apply(*tensors, windows, flips, keep_states)
        return y
    traced = backends.is_traced() or torch.compiler.is_compiling()
    run = ss2d_traceable if traced else ss2d_reference
    off = nullcontext() if dtype is None else torch.autocast(x.device.type, enabled=False)
    with off:
        return run(x, dbc, dt_weight, A, D, dt_bias, orders)


def _check(
    x: Tensor,
    dbc: Tensor,
    dt_weight: Tensor,
    A: Tensor,
    D: Tensor,
    dt_bias: Tensor,
    directions: Sequence[Direction],
) -> None:
    tensors = {"x": x, "dbc": dbc, "dt_weight": dt_weight, "A": A, "D": D, "dt_bias": dt_bias}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise ValueError(f"{name} must hold real floating-point numbers, got {tensor.dtype}")
    if x.dim() != 4 or 0 in x.shape[1:]:
        raise ValueError(f"x must be (B, H, W, C) with H, W, C >= 1, got {tuple(x.shape)}")
    K, C = len(directions), x.shape[3]
    if K == 0:
        raise ValueError("directions must name at least one direction, got none")
    for window, _ in directions:
        if window < -1:
            raise ValueError(
                f"a direction's window must be -1 (by columns), 0 (by rows) or the side of its "
                f"windows, got {window}"
            )
    for name, tensor, last in (("dt_weight", dt_weight, "R"), ("A", A, "N")):
        if tensor.dim() != 3 or tensor.shape[:2] != (K, C) or tensor.shape[2] == 0:
            raise ValueError(
                f"{name} must be (K, C, {last}) with K = {K}, C = {C} and {last} >= 1, "
                f"got {tuple(tensor.shape)}"
            )
    for name, tensor in (("D", D), ("dt_bias", dt_bias)):
        if tensor.shape != (K, C):
            raise ValueError(f"{name} must be (K, C) = {(K, C)}, got {tuple(tensor.shape)}")
    R, N = dt_weight.shape[2], A.shape[2]
    if dbc.shape != (*x.shape[:3], K * (R + 2 * N)):
        raise ValueError(
            f"dbc must be (B, H, W, K (R + 2 N)) = {(*x.shape[:3], K * (R + 2 * N))} "
            f"with K = {K}, R = {R}, N = {N}, got {tuple(dbc.shape)}"
        )
