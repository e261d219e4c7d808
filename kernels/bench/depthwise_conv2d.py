"""Times depthwise_conv2d beside cuDNN on channels-last maps, on one CUDA device.

Forward, and backward (gradients of x, weight and bias) by itself; maps as they are and as the last
channels of a tensor 16 / 3 times as wide, as in MambaOut. Each is captured in a CUDA graph, since
on small maps an eager call of either takes longer on the CPU than on the device; medians of
replays with a cold cache. The floor is the bytes of inputs and outputs over the bandwidth of an
H100's copy.

    PYTHONPATH=kernels python kernels/bench/depthwise_conv2d.py --json depthwise.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import hybridnas_kernels  # noqa: F401  (registers the operators)
from hybridnas_kernels.timing import replay_us

SHAPES = ((56, 96), (28, 192), (14, 384), (7, 576))  # side, channels: mambaout_tiny at 224
BANDWIDTH = 3.0e12  # bytes a second


def times(x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> dict[tuple[str, str], float]:
    """Microseconds by (peer or "ours", pass)."""
    C, k = weight.shape[0], weight.shape[-1]
    ours = torch.ops.hybridnas
    x_first, dy_first = x.permute(0, 3, 1, 2), dy.permute(0, 3, 1, 2)
    padding = [k // 2] * 2
    runs: dict[tuple[str, str], Callable[[], object]] = {
        ("cudnn", "fwd"): lambda: F.conv2d(x_first, weight, bias, padding=padding, groups=C),
        ("cudnn", "bwd"): lambda: torch.ops.aten.convolution_backward(
            dy_first, x_first, weight, [C], [1, 1], padding, [1, 1], False, [0, 0], C, [True] * 3
        ),
        ("ours", "fwd"): lambda: ours.depthwise_conv2d(x, weight, bias),
        ("ours", "bwd"): lambda: ours.depthwise_conv2d_backward(dy, x, weight, True, True, True),
    }
    return {name: replay_us(run) for name, run in runs.items()}


def rows(
    batch: int = 128,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    kernels: Sequence[int] = (7,),
    dtype: torch.dtype = torch.bfloat16,
) -> Iterator[dict[str, Any]]:
    """One row a shape, layout and pass; times in microseconds."""
    for k in kernels:
        for side, C in shapes:
            weight = torch.randn(C, 1, k, k, device="cuda", dtype=dtype) / k
            bias = torch.randn(C, device="cuda", dtype=dtype)
            dy = torch.randn(batch, side, side, C, device="cuda", dtype=dtype)
            for layout, width in (("dense", C), ("slice", 16 * C // 3)):
                wide = torch.randn(batch, side, side, width, device="cuda", dtype=dtype)
                taken = times(wide[..., width - C :], weight, bias, dy)
                for name, tensors in (("fwd", 2), ("bwd", 3)):
                    floor = 1e6 * tensors * dy.numel() * dy.element_size() / BANDWIDTH
                    peer, mine = taken["cudnn", name], taken["ours", name]
                    yield {
                        "op": "depthwise_conv2d",
                        "shape": f"{C}@{side} k{k} {layout}",
                        "pass": name,
                        "peer": "cudnn",
                        "peer_us": peer,
                        "ours_us": mine,
                        "floor_us": floor,
                        "ratio": peer / mine,
                        "fraction_of_floor": floor / mine,
                    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--kernels", type=int, nargs="+", default=[7])
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="bfloat16")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args(argv)
    dtype = getattr(torch, options.dtype)
    table = list(rows(options.batch, kernels=options.kernels, dtype=dtype))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.dtype}; us")
    print(f"{'shape':>18} {'pass':>4} {'cudnn':>7} {'ours':>7} {'floor':>6} {'ratio':>6}")
    for row in table:
        print(
            f"{row['shape']:>18} {row['pass']:>4} {row['peer_us']:7.1f} {row['ours_us']:7.1f} "
            f"{row['floor_us']:6.1f} {row['ratio']:5.2f}x"
        )
    for name in ("fwd", "bwd"):
        ratios = [row["ratio"] for row in table if row["pass"] == name]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"{name}: {mean:.2f}x, geometric mean")
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
