"""Which implementation of an operator runs: the one that is asked for, else the best that can."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

VARIABLE = "HYBRIDNAS_KERNELS"
BACKENDS = ("auto", "triton", "torch", "mamba")
# Nothing here imports Triton, and all of it can be read by torch.compile, which keeps what it
# finds at its first call.
# A stand-alone export travels without them.
HAS_KERNELS = Path(__file__).with_name("layer_norm").joinpath("triton_kernel.py").is_file()
_INSTALLED = {name: bool(importlib.util.find_spec(name)) for name in ("triton", "mamba_ssm")}


def choose(
    op: str, asked: str | None, x: Tensor, backends: Sequence[str] = ("triton", "torch")
) -> str:
    """The name in `backends` that runs the operator `op` on tensors like x.

    asked: by argument; None: what the environment variable HYBRIDNAS_KERNELS says, and if it says
    nothing, "auto". A backend that the variable names and that this operator has not (mamba: only
    the scan has it) means "auto"; an argument like that is a ValueError.

    "auto" is Triton for what it can run, else PyTorch. A graph that is traced for elsewhere
    (torch.export, ONNX, TorchScript) holds PyTorch's own operators, and so does what torch.func
    transforms. A forced choice that cannot
    run raises RuntimeError: it never falls back.
    """
    if asked is not None and asked != "auto" and asked not in backends:
        allowed = ", ".join(("auto", *backends))
        raise ValueError(f"{op}: backend must be one of {allowed}, got {asked!r}")
    if asked is None:
        wished = _environment()
        asked = wished if wished in backends else "auto"
    if asked != "auto":
        reason = _obstacle(asked, x)
        if reason:
            raise RuntimeError(f"{op}: the backend {asked} was forced, but {reason}")
        return asked
    if is_traced() or _is_transformed() or x.device.type != "cuda" or _obstacle("triton", x):
        return "torch"
    return "triton"


def is_traced() -> bool:
    """Whether a graph for elsewhere is being made, which must hold PyTorch's operators alone."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    # The flag behind torch.compiler.is_exporting(), which torch.compile of torch 2.11 takes for
    # true wherever it is asked.
    return tracing or torch.compiler._is_exporting_flag


def _is_transformed() -> bool:
    """Whether torch.func (vmap, grad, jvp) is at work, which the kernels' gradients do not know."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.maybe_current_level() is not None


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """What torch.autocast lowers products of tensors like x to; None where it is off."""
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def interpreted() -> bool:
    """Whether Triton runs its kernels on the CPU, in Python: slow, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _environment() -> str:
    wished = os.environ.get(VARIABLE, "auto")
    if wished not in BACKENDS:
        raise ValueError(f"{VARIABLE} must be one of {', '.join(BACKENDS)}, got {wished!r}")
    return wished


def _obstacle(backend: str, x: Tensor) -> str:
    """Why the backend cannot run on tensors like x; empty if it can."""
    if backend == "torch":
        return ""
    if x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"it computes float32, bfloat16 and float16, got {x.dtype}"
    if backend == "triton" and not HAS_KERNELS:
        return "this copy of hybridnas_kernels came without its kernels: install hybridnas"
    if x.device.type != "cuda":
        if backend == "triton" and _INSTALLED["triton"] and interpreted():
            return ""
        return f"its tensors must be on a CUDA device, got {x.device}"
    if backend == "mamba":
        return "" if _INSTALLED["mamba_ssm"] else "mamba-ssm is not installed"
    if not _INSTALLED["triton"]:
        return "Triton is not installed"
    if torch.cuda.get_device_properties(x.device.index).major < 8:
        return "the GPU is older than Ampere (compute capability 8.0)"
    return ""
