"""The Triton scan as operators that PyTorch knows: with fakes, gradient and FLOPs.

torch.compile, CUDA graphs, activation checkpointing and FLOP counters see
`hybridnas::selective_scan` and `hybridnas::selective_scan_backward`, never the kernels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .layout import new_map, num_kept

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@torch.library.custom_op("hybridnas::selective_scan", mutates_args=())
def scan(
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
    want_last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The output, with `want_last` the last state, with `save` the states for the backward.

    B, C: (batch, G, N, L), the same G. The rest as in op.py. What is not wanted is empty.
    """
    from .triton_kernel import forward

    out, states = forward(u, delta, A, B, C, D, z, delta_bias, delta_softplus, save)
    last = states.new_empty(0)
    if want_last:
        last = states[-1].transpose(1, 2).clone(memory_format=torch.contiguous_format)
    return out, last, states if save else states.new_empty(0)


@scan.register_fake
def _(
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
    want_last: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    (batch, dim, length), num_states = u.shape, A.shape[1]
    kept = (num_kept(length, num_states), batch, num_states, dim) if save else (0,)
    return (
        new_map(u, u.dtype),
        u.new_empty((batch, dim, num_states) if want_last else (0,), dtype=torch.float32),
        u.new_empty(kept, dtype=torch.float32),
    )


@torch.library.custom_op("hybridnas::selective_scan_backward", mutates_args=())
def scan_backward(
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
) -> Gradients:
    """Of u, delta, A, B, C, D, z and delta_bias; empty where there is no such tensor."""
    from .triton_kernel import backward

    return backward(dout, dlast, u, delta, A, B, C, D, z, delta_bias, states, delta_softplus)


@scan_backward.register_fake
def _(
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
) -> Gradients:
    def like(x: Tensor | None) -> Tensor:
        return u.new_empty(0) if x is None else x.new_empty(x.shape)

    dz = u.new_empty(0) if z is None else new_map(u, z.dtype)
    maps = new_map(u, u.dtype), new_map(u, delta.dtype)
    return *maps, like(A), like(B), like(C), like(D), dz, like(delta_bias)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, softplus, save, _ = inputs
    states = output[2]
    ctx.mark_non_differentiable(states)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, states)
    ctx.softplus, ctx.saved = softplus, save


def _backward(ctx: Any, dout: Tensor | None, dlast: Tensor | None, _: None) -> tuple[Any, ...]:
    if not ctx.saved:
        raise RuntimeError("hybridnas::selective_scan: a gradient needs save=True")
    u, *rest, states = ctx.saved_tensors
    if dout is None:  # only the last state was used
        dout = torch.zeros_like(u)
    grads = scan_backward(dout, dlast, u, *rest, states, ctx.softplus)
    given = (u, *rest)
    of_tensors = (None if x is None else g for x, g in zip(given, grads, strict=True))
    return *of_tensors, None, None, None


scan.register_autograd(_backward, setup_context=_setup_context)


@register_flop_formula(torch.ops.hybridnas.selective_scan)
def _flops(u: Any, delta: Any, A: Any, *rest: Any, out_shape: Any = None, **named: Any) -> int:
    """2 FLOPs a MAC, 9 N + 1 MACs for each time and channel: what the literature counts."""
    batch, dim, length = u
    return 2 * batch * dim * length * (9 * A[1] + 1)


@register_flop_formula(torch.ops.hybridnas.selective_scan_backward)
def _backward_flops(dout: Any, dlast: Any, u: Any, delta: Any, A: Any, *rest: Any, **_: Any) -> int:
    """Twice the forward's, as of every product whose two factors both get a gradient."""
    return 2 * _flops(u, delta, A)
