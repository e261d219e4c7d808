"""The operators hybridnas::selective_scan and its backward, and the gradient that ties them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..library import define
from .layout import new_map, num_kept


class SelectiveScan(torch.autograd.Function):
    """Output and last state of u, delta, A, B, C, D, z, delta_bias, softplus, save, want_last.

    B, C: (batch, G, N, L), the same G. save: keep the states for the backward. The rest as in
    op.py; a last state that is not wanted is empty.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        *tensors, ctx.softplus, save, _ = inputs
        out, last, states = torch.ops.hybridnas.selective_scan(*inputs)
        if save:
            ctx.save_for_backward(*tensors, states)
        ctx.set_materialize_grads(False)
        return out, last

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dout: Tensor | None, dlast: Tensor | None) -> tuple[Any, ...]:
        *tensors, states = ctx.saved_tensors
        if dout is None:  # only the last state was used
            dout = torch.zeros_like(tensors[0])
        found = torch.ops.hybridnas.selective_scan_backward(
            dout, dlast, *tensors, states, ctx.softplus
        )
        of_tensors = (None if x is None else g for x, g in zip(tensors, found, strict=True))
        return *of_tensors, None, None, None


def _forward(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    from .triton_kernel import forward

    *arguments, want_last = given
    out, states = forward(*arguments)
    last = states.new_empty(0)
    if want_last:
        last = states[-1].transpose(1, 2).clone(memory_format=torch.contiguous_format)
    return out, last, states if arguments[-1] else states.new_empty(0)


def _fake_forward(u: Tensor, delta: Tensor, A: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    (batch, dim, length), num_states = u.shape, A.shape[1]
    *_, save, want_last = rest
    kept = (num_kept(length), batch, num_states, dim) if save else (0,)
    return (
        new_map(u, u.dtype),
        u.new_empty((batch, dim, num_states) if want_last else (0,), dtype=torch.float32),
        u.new_empty(kept, dtype=torch.float32),
    )


def _backward(*given: Any) -> tuple[Tensor, ...]:
    from .triton_kernel import backward

    return backward(*given)


def _fake_backward(dout: Tensor, dlast: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    u, delta, A, B, C, D, z, delta_bias = rest[:8]

    def like(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else x.new_empty(x.shape)

    dz = u.new_empty(0) if z is None else new_map(u, z.dtype)
    maps = new_map(u, u.dtype), new_map(u, delta.dtype)
    return *maps, like(A), like(B), like(C), like(D), dz, like(delta_bias)


def _flops(u: Any, delta: Any, A: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
    """2 FLOPs a MAC, 9 N + 1 MACs for each time and channel: what the literature counts."""
    batch, dim, length = u
    return 2 * batch * dim * length * (9 * A[1] + 1)


def _backward_flops(dout: Any, dlast: Any, u: Any, delta: Any, A: Any, *rest: Any, **_: Any) -> int:
    """Twice the forward's, as of every product whose two factors both get a gradient."""
    return 2 * _flops(u, delta, A)


_TENSORS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias"
)
define(
    f"selective_scan({_TENSORS}, bool delta_softplus, bool save, bool want_last) -> "
    "(Tensor, Tensor, Tensor)",
    _forward,
    _fake_forward,
    _flops,
)
# Of u, delta, A, B, C, D, z and delta_bias; empty where there is no such tensor.
define(
    f"selective_scan_backward(Tensor dout, Tensor? dlast, {_TENSORS}, Tensor states, "
    "bool delta_softplus) -> "
    "(Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _backward,
    _fake_backward,
    _backward_flops,
)
