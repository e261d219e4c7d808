"""Launches Triton's kernels with little work for the CPU.

`kernel[grid](...)` binds and inspects all arguments, formats the options as text and prepares for
hooks at each launch. Small networks are bound by just that. Here it happens once for a kind of
arguments; then the compiled kernel is launched as Triton itself would.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .backends import interpreted

_INTERPRETED = interpreted()
_COMPILED: dict[Any, tuple[Any, ...]] = {}


def blocks_of(total: int, size: int) -> int:
    """How many blocks of that size cover the total; triton.cdiv takes longer."""
    return -(-total // size)


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """kernel[grid](*args, **constants) on the current device and stream.

    args: all parameters before the tl.constexpr ones: first a tensor, then tensors, numbers, None.
    constants: the tl.constexpr parameters, which come last in the kernel, and the compiler's
    options.
    """
    if _INTERPRETED:
        kernel[grid](*args, **constants)
        return
    device = args[0].get_device()
    values = [arg.data_ptr() if isinstance(arg, Tensor) else arg for arg in args]
    # As fine as what Triton tells apart, or finer: numbers by value, addresses by alignment.
    key = (
        id(kernel),
        device,
        *[
            arg if arg is value else (arg.dtype, value % 16 == 0)
            for arg, value in zip(args, values, strict=True)
        ],
        *constants.items(),
    )
    ready = _COMPILED.get(key)
    if ready is None:
        _COMPILED[key] = _first(kernel, grid, args, constants)
        return
    run, function, metadata, last = ready
    run(
        *grid,
        *(1,) * (3 - len(grid)),
        torch._C._cuda_getCurrentRawStream(device),
        function,
        metadata,
        *(None, None, None),  # no hooks
        *values,
        *last,
    )


def _first(
    kernel: Any, grid: tuple[int, ...], args: tuple[Any, ...], constants: dict[str, Any]
) -> tuple[Any, ...]:
    """Launches as Triton does, which compiles what was not, and keeps what the next one needs."""
    compiled = kernel[grid](*args, **constants)
    last = tuple(constants[name] for name in kernel.arg_names[len(args) :])
    return compiled.run, compiled.function, compiled.packed_metadata, last
