"""Times the selective scan beside a plain loop over time, and mamba-ssm's where it can be imported.

Forward under no_grad, and forward with backward; medians of runs that take turns.

    PYTHONPATH=kernels python kernels/bench/selective_scan.py --shapes 64,64,64,8 128,384,196,1
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridnas_kernels import selective_scan

Scan = Callable[..., Tensor]


def naive(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, **rest: Tensor) -> Tensor:
    """L steps of Python in float32, written as mamba-ssm's reference is; B, C: (batch, G, N, L)."""
    delta = F.softplus(delta.float() + rest["delta_bias"][:, None])
    per_group = u.shape[1] // B.shape[1]
    B, C = (x.float().repeat_interleave(per_group, dim=1) for x in (B, C))
    decay = torch.exp(delta[:, :, None] * A[..., None])  # (batch, dim, N, L)
    drive = (delta * u)[:, :, None] * B
    h, steps = torch.zeros_like(drive[..., 0]), []
    for t in range(u.shape[-1]):
        h = decay[..., t] * h + drive[..., t]
        steps.append((h * C[..., t]).sum(-1))
    y = torch.stack(steps, dim=-1) + rest["D"][:, None] * u
    return (y * F.silu(rest["z"].float())).to(u.dtype)


def contenders() -> dict[str, Scan]:
    scans: dict[str, Scan] = {"naive": naive, "ours": partial(selective_scan, delta_softplus=True)}
    try:
        from mamba_ssm.ops.selective_scan_interface import (  # type: ignore[import-not-found]
            selective_scan_fn,
        )
    except ImportError:
        return scans
    return scans | {"mamba_ssm": partial(selective_scan_fn, delta_softplus=True)}


def arguments(shape: str, groups: int, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    batch, dim, length, num_states = map(int, shape.split(","))
    normal = partial(torch.randn, device=device, dtype=dtype)
    u, delta, z = (normal(batch, dim, length) for _ in range(3))
    B, C = (normal(batch, groups, num_states, length) for _ in range(2))
    A, D, bias = -torch.rand(dim, num_states, device=device), *torch.randn(2, dim, device=device)
    given = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": bias}
    return {name: x.requires_grad_() for name, x in given.items()}


def forward_and_backward(scan: Scan, given: dict[str, Tensor]) -> None:
    torch.autograd.backward(scan(**given).sum())


def seconds(run: Callable[[], object], device: str) -> float:
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=["64,64,64,8", "64,64,64,1"])
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--repeats", type=int, default=15, help="the median hides the first")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype: torch.dtype = getattr(torch, options.dtype)
    print(f"{device}, {options.dtype}, {options.groups} groups, torch {torch.__version__}; ms")
    print(f"{'B,dim,L,N':>18} {'':>9} {'fwd':>9} {'fwd+bwd':>9} {'naive / it':>18}")
    for shape in options.shapes:
        given = arguments(shape, options.groups, device, dtype)
        runs: dict[tuple[str, str], Callable[[], object]] = {}
        for name, scan in contenders().items():
            runs[name, "fwd"] = torch.no_grad()(partial(scan, **given))
            runs[name, "both"] = partial(forward_and_backward, scan, given)
        taken = [{k: seconds(f, device) for k, f in runs.items()} for _ in range(options.repeats)]
        ms = {k: 1e3 * statistics.median(turn[k] for turn in taken) for k in runs}
        for name in contenders():
            fwd, both = ms[name, "fwd"], ms[name, "both"]
            ratios = f"{ms['naive', 'fwd'] / fwd:8.1f}x {ms['naive', 'both'] / both:8.1f}x"
            print(f"{shape:>18} {name:>9} {fwd:9.2f} {both:9.2f} {ratios}")


if __name__ == "__main__":
    main()
