"""Times the Gated CNN block beside timm's, eager and under torch.compile, on one CUDA device.

Forward, and backward by itself, in bfloat16 (--autocast: float32 parameters and residuals, bfloat16
products): medians of the device's time, launches waiting in its queue. The floor is the larger of
the bytes that three kernels (projection, convolution, gated projection; and their backwards) must
move over the bandwidth, and the operations over the tensor cores' rate, both measured on an H100.
--model trains a whole network of timm's, in images a second, ours also captured as a CUDA graph.

    PYTHONPATH=kernels python kernels/bench/gated_conv_block.py --json gated.json
    PYTHONPATH=kernels python kernels/bench/gated_conv_block.py --model mambaout_tiny
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.mambaout import GatedConvBlock
from torch import Tensor, nn

from hybridnas_kernels import gated_conv_block, layer_norm

SHAPES = ((96, 56), (192, 28), (384, 14), (576, 7))  # mambaout_tiny: width, side of the map
BYTES_A_SECOND, FLOPS_A_SECOND = 3.0e12, 738e12
Run = Callable[[], object]


class FastBlock(nn.Module):
    """A block of timm's, with its parameters, computed by our operator."""

    def __init__(self, block: GatedConvBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        block, scale = self.block, None
        rate = getattr(block.drop_path, "drop_prob", 0.0)
        if self.training and rate:
            scale = x.new_empty(len(x)).bernoulli_(1 - rate).div_(1 - rate)
        norm, fc1, conv, fc2 = block.norm, block.fc1, block.conv, block.fc2
        return gated_conv_block(
            x, norm.weight, norm.bias, norm.eps, fc1.weight, fc1.bias, conv.weight, conv.bias,
            fc2.weight, fc2.bias, scale,
        )  # fmt: skip


def microseconds(run: Run, repeats: int = 25) -> float:
    """Median time on the device. It first overwrites its cache and then sleeps for some
    milliseconds, so that all of the run's launches wait in its queue when the run begins."""
    cache = torch.empty(64 << 20, dtype=torch.int32, device="cuda")
    for _ in range(3):
        run()
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for before, after in marks:
        cache.zero_()
        torch.cuda._sleep(10_000_000)  # cycles
        before.record()
        run()
        after.record()
    torch.cuda.synchronize()
    return 1e3 * statistics.median(before.elapsed_time(after) for before, after in marks)


def floors(batch: int, width: int, side: int, block: GatedConvBlock) -> dict[str, float]:
    """Microseconds of forward and backward, 16-bit tensors."""
    hidden, mixed = block.fc2.in_features, block.conv.in_channels
    tokens, taps = batch * side**2, block.conv.weight[0].numel()
    elements = {
        "fwd": 3 * width + 4 * hidden + 2 * mixed,
        "bwd": 5 * width + 6 * hidden + 3 * mixed,
    }
    flops = 2 * tokens * (3 * width * hidden + mixed * taps)
    return {
        name: 1e6
        * max(2 * tokens * count / BYTES_A_SECOND, (1 + (name == "bwd")) * flops / FLOPS_A_SECOND)
        for name, count in elements.items()
    }


def times(forward: Callable[[], Tensor], leaves: Sequence[Tensor]) -> dict[str, float]:
    out = forward()
    dout = torch.randn_like(out)
    backward = partial(torch.autograd.grad, out, leaves, dout, retain_graph=True)
    return {"fwd": microseconds(forward), "bwd": microseconds(backward)}


def rows(
    batch: int = 128, shapes: Sequence[tuple[int, int]] = SHAPES, autocast: bool = False,
    compiled: bool = True,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """One row a stage, pass and peer; times in microseconds."""
    for width, side in shapes:
        dtype = torch.float32 if autocast else torch.bfloat16
        block = GatedConvBlock(width, norm_layer=partial(nn.LayerNorm, eps=1e-6)).cuda().to(dtype)
        x = torch.randn(batch, side, side, width, device="cuda", dtype=dtype, requires_grad=True)
        blocks: dict[str, nn.Module | Callable[[Tensor], Tensor]] = {"ours": FastBlock(block)}
        blocks["timm"] = block
        if compiled:
            blocks["timm+compile"] = torch.compile(block, dynamic=False)
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
            taken = {
                name: times(partial(run, x), [x, *block.parameters()])
                for name, run in blocks.items()
            }
        ours = taken.pop("ours")
        for name, floor in floors(batch, width, side, block).items():
            for peer, peers in taken.items():
                row = {"op": "gated_conv_block", "shape": f"{batch}x{side}x{side}x{width}"}
                row |= {"pass": name, "peer": peer}
                yield row | {
                    "peer_us": peers[name],
                    "ours_us": ours[name],
                    "floor_us": floor,
                    "ratio": peers[name] / ours[name],
                    "fraction_of_floor": floor / ours[name],
                }


def images_a_second(network: nn.Module, batch: int, captured: bool, image: int = 224) -> float:
    """Of training: AdamW, bfloat16 autocast. captured: the step is replayed as a CUDA graph."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True, capturable=captured)
    x = torch.randn(batch, 3, image, image, device="cuda").to(memory_format=torch.channels_last)
    y = torch.randint(0, 1000, (batch,), device="cuda")

    def step() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16, cache_enabled=not captured):
            loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=not captured)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    run: Run = step
    if captured:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    run()
    torch.cuda.synchronize()
    start, steps = time.perf_counter(), 10
    for _ in range(steps):
        run()
    torch.cuda.synchronize()
    return batch * steps / (time.perf_counter() - start)


class FastNorm(nn.Module):
    """A layer norm of timm's, with its parameters, computed by our operator."""

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.norm.weight, self.norm.bias, self.norm.eps)


def with_ours(network: nn.Module) -> nn.Module:
    """The network with its blocks and its other layer norms replaced."""
    for name, child in list(network.named_children()):
        if isinstance(child, GatedConvBlock):
            setattr(network, name, FastBlock(child))
        elif isinstance(child, nn.LayerNorm):
            setattr(network, name, FastNorm(child))
        else:
            with_ours(child)
    return network


def training(name: str, batch: int, compiled: bool) -> dict[str, float]:
    """Images a second of timm's model of that name: as it is, compiled, and with our operators."""
    make = partial(timm.create_model, name, drop_path_rate=0.2)
    found = {"timm": images_a_second(make().cuda(), batch, captured=False)}
    if compiled:
        network = make().cuda()
        network.compile()
        found["timm+compile"] = images_a_second(network, batch, captured=False)
    for key, captured in (("ours", False), ("ours+graph", True)):
        found[key] = images_a_second(with_ours(make().cuda()), batch, captured)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--autocast", action="store_true")
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    parser.add_argument("--model", help="train this model of timm's instead, in images a second")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args(argv)
    if options.model:
        for name, rate in training(options.model, options.batch, options.compiled).items():
            print(f"{options.model} {name:>12} {rate:8.0f} images/s")
        return 0
    table = list(rows(options.batch, autocast=options.autocast, compiled=options.compiled))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; us")
    print(
        f"{'shape':>16} {'pass':>4} {'peer':>12} {'peer':>8} {'ours':>8} {'floor':>8} {'ratio':>6}"
    )
    for row in table:
        print(
            f"{row['shape']:>16} {row['pass']:>4} {row['peer']:>12} {row['peer_us']:8.0f} "
            f"{row['ours_us']:8.0f} {row['floor_us']:8.0f} {row['ratio']:5.2f}x"
        )
    if options.json:
        options.json.write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
