"""Times the selective scan beside its peers: mamba-ssm on a GPU, a plain loop over time on a CPU.

    PYTHONPATH=kernels python kernels/bench/selective_scan.py --json scan.json

On a GPU: bf16, batch 128, four directions of E channels as groups, D, delta_bias and softplus;
forward as in training (what the backward needs is kept) and backward alone, both sides as CUDA
graphs; medians in us. The floor is the bytes that must be moved at 3.0 TB/s, or exp2 at 4.1e12/s
where that takes longer.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridnas_kernels import selective_scan
from hybridnas_kernels.timing import replay_us

Row = dict[str, str | float]
GROUPS = 4
# (channels of a direction, L, N): stages of visual Mambas at 224 pixels
SHAPES = [
    *((96, 3136, 1), (96, 3136, 16), (192, 3136, 1), (192, 3136, 16), (192, 784, 1)),
    *((192, 784, 16), (384, 784, 1), (384, 784, 16), (384, 196, 1), (384, 196, 16)),
    *((768, 196, 1), (768, 196, 16), (768, 49, 1), (768, 49, 16)),
]
# What the kernels are compiled for: blocks of 32 or 64 channels, times read 8, 4 or 1 at once.
CLASSES = [
    (channels, length, states)
    for channels, length in ((96, 64), (64, 64), (64, 36), (64, 49))
    for states in (16, 1)
]
CPU_SHAPES = [(16, 64, 8), (16, 64, 1)]


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
    return (torch.stack(steps, dim=-1) + rest["D"][:, None] * u).to(u.dtype)


def our_runs(given: dict[str, Tensor]) -> dict[str, Callable[[], object]]:
    """Forward, which keeps what the backward needs, and backward, as operators."""
    operators, tensors = torch.ops.hybridnas, _tensors(given)
    out, _, states = operators.selective_scan(*tensors, True, True, False)
    backward = operators.selective_scan_backward
    return {
        "fwd": partial(operators.selective_scan, *tensors, True, True, False),
        "bwd": partial(backward, torch.randn_like(out), None, *tensors, states, True),
    }


def mamba_runs(given: dict[str, Tensor]) -> dict[str, Callable[[], object]]:
    """The same of mamba-ssm's extension, whose package imports more than the scan needs."""
    import selective_scan_cuda  # type: ignore[import-not-found]

    tensors = _tensors(given)
    out, states, *_ = selective_scan_cuda.fwd(*tensors, True)
    rest = torch.randn_like(out), states, None, None, True, False

    def backward() -> list[Tensor]:
        found = selective_scan_cuda.bwd(*tensors, *rest)
        return [each.to(x.dtype) for each, x in zip(found, given.values(), strict=False)]

    return {"fwd": partial(selective_scan_cuda.fwd, *tensors, True), "bwd": backward}


def _tensors(given: dict[str, Tensor]) -> list[Tensor | None]:
    """As both want them: u, delta, A, B, C, D, no gate, delta_bias."""
    first = [given[name].detach() for name in ("u", "delta", "A", "B", "C", "D")]
    return [*first, None, given["delta_bias"].detach()]


def arguments(
    channels: int, length: int, states: int, batch: int, device: str
) -> dict[str, Tensor]:
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    dim = GROUPS * channels
    normal = partial(torch.randn, device=device, dtype=dtype)
    u, delta = (normal(batch, dim, length) for _ in range(2))
    B, C = (normal(batch, GROUPS, states, length) for _ in range(2))
    A, D, bias = -torch.rand(dim, states, device=device), *torch.randn(2, dim, device=device)
    given = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "delta_bias": bias}
    return {name: x.requires_grad_() for name, x in given.items()}


def floors(channels: int, length: int, states: int, batch: int) -> dict[str, float]:
    """us, from the bytes of u, delta, out, B, C (backward: their gradients too) and from exp2."""
    of_maps = 2 * batch * GROUPS * channels * length  # bytes of one map, bf16
    of_projections = 2 * batch * GROUPS * states * length * 2
    exponentials = batch * GROUPS * channels * length * states / 4.1e12
    moved = {"fwd": 3 * of_maps + of_projections, "bwd": 5 * of_maps + 2 * of_projections}
    return {name: 1e6 * max(bytes_ / 3.0e12, exponentials) for name, bytes_ in moved.items()}


def rows(batch: int = 128, shapes: Sequence[tuple[int, int, int]] | None = None) -> Iterator[Row]:
    """One row for a shape and a pass, times in us."""
    on_gpu = torch.cuda.is_available()
    peer_name = "mamba-ssm" if on_gpu else "naive loop"
    if on_gpu and importlib.util.find_spec("selective_scan_cuda") is None:
        peer_name = "-"
    for shape in shapes or (SHAPES if on_gpu else CPU_SHAPES):
        given = arguments(*shape, batch, "cuda" if on_gpu else "cpu")
        floor = floors(*shape, batch)
        times = _gpu_times(given, peer_name) if on_gpu else _cpu_times(given)
        for which in ("fwd", "bwd"):
            ours_us = times["ours"][which]
            peer_us = times["peer"][which] if "peer" in times else None
            yield {
                "op": "selective_scan",
                "shape": "E {}, L {}, N {}".format(*shape),
                "pass": which,
                "peer": peer_name,
                "peer_us": peer_us,
                "ours_us": ours_us,
                "floor_us": floor[which] if on_gpu else 0.0,
                "ratio": peer_us / ours_us if peer_us else None,
                "fraction_of_floor": floor[which] / ours_us if on_gpu else 0.0,
            }


def _gpu_times(given: dict[str, Tensor], peer_name: str) -> dict[str, dict[str, float]]:
    sides = {"ours": our_runs, **({} if peer_name == "-" else {"peer": mamba_runs})}
    return {
        side: {which: replay_us(run) for which, run in runs(given).items()}
        for side, runs in sides.items()
    }


def _cpu_times(given: dict[str, Tensor]) -> dict[str, dict[str, float]]:
    found = {}
    for side, scan in (("ours", partial(selective_scan, delta_softplus=True)), ("peer", naive)):
        out = scan(**given)
        back = partial(
            torch.autograd.grad, out, [*given.values()], torch.randn_like(out), retain_graph=True
        )
        found[side] = {"fwd": _median_us(partial(scan, **given)), "bwd": _median_us(back)}
    return found


def _median_us(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(5):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return 1e6 * statistics.median(taken)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=None, help="128 on a GPU, 4 on a CPU")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args(argv)
    found = list(rows(options.batch or (128 if torch.cuda.is_available() else 4)))
    heads = ("shape", "pass", "peer", "us", "ours us", "ratio", "floor us")
    print("{:22} {:4} {:>10} {:>8} {:>8} {:>6} {:>8}".format(*heads))
    for row in found:
        print(
            "{shape:22} {pass:4} {peer:>10} {peer_us:8.0f} {ours_us:8.0f} {ratio:6.2f} "
            "{floor_us:8.0f}".format(**row)
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
