"""Times ss2d beside its best peer: gather into four sequences, project dt, mamba-ssm's CUDA scan,
merge; the gathering and the merge as PyTorch runs them and as torch.compile does.

bf16, four directions; microseconds, medians. ours and the peers' forward as CUDA graphs, the
peers' backward as autograd runs it (their kernels hide its launches). floor: bytes that a fused
kernel must move, over the bandwidth measured on an H100.

    PYTHONPATH=kernels python kernels/bench/ss2d.py --shapes 192,28,1 768,7,1 --json out.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from hybridnas_kernels import ss2d
from hybridnas_kernels.timing import replay_us

# channels, side of the map, states: the rows of the selective scan's table
SHAPES = ("96,56,1", "192,56,1", "192,28,1", "384,28,1", "384,14,1", "768,14,1", "768,7,1")
CROSS = [(0, False), (-1, False), (0, True), (-1, True)]
WINDOWS, FLIPS = [window for window, _ in CROSS], [flip for _, flip in CROSS]
BYTES_PER_US = 3.0e6  # of a copy, read and written
Inputs = dict[str, Tensor]


def inputs(channels: int, side: int, num_states: int, batch: int, device: str) -> Inputs:
    rank = -(-channels // 32)  # of a block half as wide as its inner channels
    normal = partial(torch.randn, device=device, dtype=torch.bfloat16)
    steps = torch.arange(1, num_states + 1, device=device).expand(4, channels, -1)
    return {
        "x": normal(batch, side, side, channels),
        "dbc": normal(batch, side, side, 4 * (rank + 2 * num_states)),
        "dt_weight": torch.randn(4, channels, rank, device=device) * rank**-0.5,
        "A": -steps * (1 + 0.1 * torch.rand(4, channels, num_states, device=device)),
        "D": torch.randn(4, channels, device=device),
        "dt_bias": torch.randn(4, channels, device=device) - 4,
    }


def floor_us(given: Inputs, is_backward: bool) -> float:
    x, dbc = given["x"].nbytes, given["dbc"].nbytes
    return (3 * x + 2 * dbc if is_backward else 2 * x + dbc) / BYTES_PER_US


def _sequences(maps: Tensor) -> list[Tensor]:
    by_row, by_column = maps.permute(0, 3, 1, 2).flatten(2), maps.permute(0, 3, 2, 1).flatten(2)
    return [by_row, by_column, by_row.flip(2), by_column.flip(2)]


def gather(x: Tensor, dbc: Tensor, rank: int, num_states: int) -> tuple[Tensor, ...]:
    """u (B, 4 C, L); dt, b, c (B, 4, ., L)."""
    u = torch.stack(_sequences(x), 1).flatten(1, 2)
    parts = torch.stack([_sequences(part)[k] for k, part in enumerate(dbc.chunk(4, 3))], 1)
    dt, b, c = parts.split([rank, num_states, num_states], 2)
    return u, dt.contiguous(), b.contiguous(), c.contiguous()


def merge(y: Tensor, height: int, width: int) -> Tensor:
    y = y.unflatten(1, (4, -1))
    rows = (y[:, 0] + y[:, 2].flip(2)).unflatten(2, (height, width)).permute(0, 2, 3, 1)
    columns = (y[:, 1] + y[:, 3].flip(2)).unflatten(2, (width, height)).permute(0, 3, 2, 1)
    return (rows + columns).contiguous()


class MambaScan(torch.autograd.Function):
    """mamba-ssm's kernels by themselves: its Python package asks for more than they need."""

    @staticmethod
    def forward(ctx, *given: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        import selective_scan_cuda  # type: ignore[import-not-found]

        u, delta, A, b, c, D, bias = given
        out, states, *_ = selective_scan_cuda.fwd(u, delta, A, b, c, D, None, bias, True)
        ctx.save_for_backward(*given, states)
        return out

    @staticmethod
    def backward(ctx, dy: Tensor) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
        import selective_scan_cuda

        u, delta, A, b, c, D, bias, states = ctx.saved_tensors
        grads = selective_scan_cuda.bwd(
            u, delta, A, b, c, D, None, bias, dy.contiguous(), states, None, None, True, False
        )
        du, d_delta, dA, db, dc, dD, d_bias = grads[:7]
        return du, d_delta, dA, db.to(b.dtype), dc.to(c.dtype), dD, d_bias


def einsum(weight: Tensor, dt: Tensor) -> Tensor:
    return torch.einsum("bkrl,kcr->bkcl", dt, weight)


def peer(
    gather: Callable[..., tuple[Tensor, ...]],
    merge: Callable[..., Tensor],
    project: Callable[[Tensor, Tensor], Tensor],
    given: Inputs,
) -> Tensor:
    x, weight = given["x"], given["dt_weight"]
    u, dt, b, c = gather(x, given["dbc"], weight.shape[2], given["A"].shape[2])
    delta = project(weight.to(x.dtype), dt).flatten(1, 2)
    A, D, bias = given["A"].flatten(0, 1), given["D"].flatten(), given["dt_bias"].flatten()
    y: Tensor = MambaScan.apply(u, delta, A, b, c, D, bias)  # type: ignore[no-untyped-call]
    return merge(y, x.shape[1], x.shape[2])


def peers() -> dict[str, Callable[[Inputs], Tensor]]:
    """The same four ways: which is fastest depends on the shape."""
    try:
        import selective_scan_cuda  # noqa: F401
    except ImportError:
        return {}
    # Inductor of torch 2.11 fails in this analysis of the flipped sequences.
    unanalysed = {"triton.coalesce_tiling_analysis": False}
    torch._dynamo.reset()  # each shape is compiled for itself
    compiled = [torch.compile(f, dynamic=False, options=unanalysed) for f in (gather, merge)]
    return {
        f"mamba{how}, {project.__name__}": partial(peer, *steps, project)
        for how, steps in (("", (gather, merge)), (" compiled", compiled))
        for project in (einsum, torch.matmul)
    }


def peer_times(run: Callable[[Inputs], Tensor], given: Inputs) -> dict[str, float]:
    from triton.testing import do_bench

    with torch.no_grad():
        forward_us = replay_us(partial(run, given))
    leaves = {name: t.detach().clone().requires_grad_() for name, t in given.items()}
    y = run(leaves)
    dy = torch.randn_like(y)
    gradient = partial(torch.autograd.grad, y, list(leaves.values()), dy, retain_graph=True)
    backward_us = 1e3 * float(do_bench(gradient, warmup=10, rep=40, return_mode="median"))
    return {"fwd": forward_us, "bwd": backward_us}


def our_times(given: Inputs) -> dict[str, float]:
    tensors = tuple(given.values())
    with torch.no_grad():
        forward_us = replay_us(partial(ss2d, *tensors, CROSS, backend="triton"))
    y, states = torch.ops.hybridnas.ss2d(*tensors, WINDOWS, FLIPS, True)
    backward = torch.ops.hybridnas.ss2d_backward
    run = partial(backward, torch.randn_like(y), *tensors, states, WINDOWS, FLIPS)
    return {"fwd": forward_us, "bwd": replay_us(run)}


def rows(
    batch: int = 128, shapes: Sequence[str] = SHAPES, device: str = "cuda"
) -> Iterator[dict[str, object]]:
    """A row for each shape and pass: times in microseconds, against the best peer there is."""
    for shape in shapes:
        given = inputs(*map(int, shape.split(",")), batch, device)
        ours = our_times(given)
        theirs = {name: peer_times(run, given) for name, run in peers().items()}
        for which in ("fwd", "bwd"):
            best = min(theirs, key=lambda name: theirs[name][which], default=None)
            peer_us = theirs[best][which] if best else None
            floor = floor_us(given, which == "bwd")
            yield {
                "op": "ss2d",
                "shape": shape,
                "pass": which,
                "peer": best or "-",
                "peer_us": peer_us,
                "ours_us": ours[which],
                "floor_us": floor,
                "ratio": peer_us / ours[which] if peer_us else None,
                "fraction_of_floor": floor / ours[which],
            }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="channels,side,states")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    found = list(rows(options.batch, options.shapes))
    print(f"{'C,side,N':>12} pass {'peer':>22} {'peer us':>9} {'ours us':>9} {'floor':>7} ratio")
    for row in found:
        peer_us, ratio = row["peer_us"] or float("nan"), row["ratio"] or float("nan")
        print(
            f"{row['shape']:>12} {row['pass']:>4} {row['peer']:>22} {peer_us:9.0f} "
            f"{row['ours_us']:9.0f} {row['floor_us']:7.0f} {ratio:5.1f}"
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
