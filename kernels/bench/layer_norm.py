"""Times layer_norm beside PyTorch's, eager and under torch.compile, on one CUDA device.

Rows are a map's pixels, bfloat16 in and float32 out, as under autocast; weight and bias float32.
Forward, and backward (gradients of input, weight and bias) by itself; medians of the device's
time, launches waiting in its queue. The floor is the bytes of inputs and outputs over the bandwidth
of an H100's copy.

    PYTHONPATH=kernels python kernels/bench/layer_norm.py --json layer_norm.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hybridnas_kernels import layer_norm

SHAPES = ((112, 48), (56, 96), (28, 192), (14, 384), (7, 576))  # side, channels: mambaout_tiny's
BANDWIDTH = 3.0e12  # bytes a second
Norm = Callable[[Tensor, Tensor, Tensor], Tensor]


def pytorch(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias, 1e-6)


def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return layer_norm(x, weight, bias, 1e-6, torch.float32, backend="triton")


def microseconds(run: Callable[[], object], repeats: int = 25) -> float:
    """Median time on the device. It first overwrites its cache and then sleeps, so that all of the
    run's launches wait in its queue when the run begins."""
    cache = torch.empty(64 << 20, dtype=torch.int32, device="cuda")
    for _ in range(3):
        run()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for before, after in marks:
        cache.zero_()
        torch.cuda._sleep(2_000_000)  # cycles
        before.record()
        run()
        after.record()
    torch.cuda.synchronize()
    return 1e3 * statistics.median(before.elapsed_time(after) for before, after in marks)


def times(norm: Norm, inputs: Sequence[Tensor]) -> dict[str, float]:
    y = norm(*inputs)
    dy = torch.randn_like(y)
    backward = partial(torch.autograd.grad, y, inputs, dy, retain_graph=True)
    return {"fwd": microseconds(partial(norm, *inputs)), "bwd": microseconds(backward)}


def rows(
    batch: int = 128, shapes: Sequence[tuple[int, int]] = SHAPES, compiled: bool = True
) -> Iterator[dict[str, Any]]:
    """One row a shape, pass and peer; times in microseconds."""
    for side, width in shapes:
        x = torch.randn(batch, side, side, width, device="cuda", dtype=torch.bfloat16)
        parameters = [torch.randn(width, device="cuda") for _ in range(2)]
        inputs = [t.requires_grad_() for t in (x, *parameters)]
        norms: dict[str, Norm] = {"ours": ours, "pytorch": pytorch}
        if compiled:
            torch.compiler.reset()
            norms["pytorch+compile"] = torch.compile(pytorch, dynamic=False)
        taken = {name: times(norm, inputs) for name, norm in norms.items()}
        mine = taken.pop("ours")
        for name, bytes_each in (("fwd", 2 + 4), ("bwd", 2 + 4 + 2)):
            floor = 1e6 * bytes_each * x.numel() / BANDWIDTH
            for peer, peers in taken.items():
                yield {
                    "op": "layer_norm",
                    "shape": f"{width}@{side}",
                    "pass": name,
                    "peer": peer,
                    "peer_us": peers[name],
                    "ours_us": mine[name],
                    "floor_us": floor,
                    "ratio": peers[name] / mine[name],
                    "fraction_of_floor": floor / mine[name],
                }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args(argv)
    table = list(rows(options.batch, compiled=options.compiled))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; us")
    print(
        f"{'shape':>8} {'pass':>4} {'peer':>15} {'peer':>7} {'ours':>7} {'floor':>6} {'ratio':>6}"
    )
    for row in table:
        print(
            f"{row['shape']:>8} {row['pass']:>4} {row['peer']:>15} {row['peer_us']:7.1f} "
            f"{row['ours_us']:7.1f} {row['floor_us']:6.1f} {row['ratio']:5.2f}x"
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
