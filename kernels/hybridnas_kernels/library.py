"""Makes operators known to PyTorch by name: torch.compile, CUDA graphs and counters of FLOPs see
`torch.ops.hybridnas.NAME`, never the kernels behind it.

An operator has no gradient here. Its door ties forward and backward by a torch.autograd.Function:
torch.library's own way (custom_op, register_autograd) takes 0.28 ms of the CPU forward and 0.23 ms
backward a call, this one 0.03 and 0.08, and small networks are bound by just that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .backends import HAS_KERNELS

_LIBRARY = torch.library.Library("hybridnas", "FRAGMENT")


def define(
    schema: str,
    run: Callable[..., Any],
    fake: Callable[..., Any],
    flops: Callable[..., int] | None = None,
) -> None:
    """Defines the operator torch.ops.hybridnas.NAME.

    schema: torch.library's, "NAME(Tensor x, ...) -> Tensor"; nothing is mutated or aliased. The
    first argument is a tensor, whose GPU becomes the current one. run: computes it. fake: the
    results' shapes and types alone, for tracing. flops: of the shapes, as torch.utils.flop_counter
    calls it.
    """
    name = schema.partition("(")[0]
    if not HAS_KERNELS:  # a copy in a stand-alone export leaves the name to the installed package
        return
    _LIBRARY.define(schema)

    def on_its_device(first: Tensor, *rest: Any) -> Any:
        device = first.get_device()  # -1 on the CPU
        if device < 0 or device == torch.cuda.current_device():
            return run(first, *rest)
        with torch.cuda.device(device):  # Triton launches on the current one
            return run(first, *rest)

    _LIBRARY.impl(name, on_its_device, "CompositeExplicitAutograd")
    torch.library.register_fake(f"hybridnas::{name}", fake, lib=_LIBRARY)
    if flops is not None:
        register_flop_formula(getattr(torch.ops.hybridnas, name))(flops)
