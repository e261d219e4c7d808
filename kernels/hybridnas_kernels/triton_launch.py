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


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **constants: Any) -> None:
    """kernel[grid](*args, **constants) on the current device and stream.

    args: all parameters before the tl.constexpr ones: tensors, numbers, None. constants: the
    tl.constexpr parameters, which come last in the kernel, and the compiler's options.
    """
    if _INTERPRETED:
        kernel[grid](*args, **constants)
        return
    # As fine as what Triton tells apart, or finer: numbers by value, addresses by alignment.
    kinds: list[Any] = [id(kernel), *constants.items()]
    values: list[Any] = []
    device = -1
    for arg in args:
        if isinstance(arg, Tensor):
            address = arg.data_ptr()
            kinds.append((arg.dtype, address % 16 == 0))
            values.append(address)
            device = arg.get_device()
        else:
            kinds.append(arg)
            values.append(arg)
    kinds.append(device)
    key = tuple(kinds)
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
