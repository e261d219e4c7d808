"""Times whole training steps: our models beside timm's, in one process on one GPU.

A step is forward, loss, backward and AdamW (fused) under bf16 autocast on random images that lie
on the GPU already. Images a second are from the median of the steps; memory is the peak of one
step. Ours run as they are and as a captured CUDA graph of the whole step (no compiler); timm's
run as they are and under torch.compile.

    python scripts/bench_training.py mambaout_tiny=mambaout_tiny vmamba_tiny_s1l8=convnext_tiny
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import timm
import torch
from torch import nn

import hybridnas  # noqa: F401 (registers its models with timm)


def training_step(model: nn.Module, batch: int, size: int) -> Callable[[], None]:
    images = torch.randn(batch, 3, size, size, device="cuda")
    labels = torch.randint(1000, (batch,), device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=True)

    def step() -> None:
        # No cache of lowered weights: a captured step must lower them anew each time.
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def measure(name: str, how: str, options: argparse.Namespace) -> dict[str, float | str]:
    """Images a second, peak MiB, and seconds until the first step is done."""
    gc.collect()
    torch.cuda.empty_cache()
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = timm.create_model(name, drop_path_rate=options.drop_path).cuda().train()
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
    start = time.perf_counter()
    compiled = cast(nn.Module, torch.compile(model)) if how == "compiled" else model
    run = training_step(compiled, options.batch, options.size)
    torch.cuda.reset_peak_memory_stats()
    if how == "captured":
        run = captured(run)
    run()
    torch.cuda.synchronize()
    first = time.perf_counter() - start
    for _ in range(3):
        run()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(options.steps + 1)]
    marks[0].record()
    for mark in marks[1:]:
        run()
        mark.record()
    torch.cuda.synchronize()
    ms = statistics.median(a.elapsed_time(b) for a, b in itertools.pairwise(marks))
    return {
        "images_s": options.batch / ms * 1e3,
        "ms": ms,
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20,
        "first_step_s": first,
    }


def rows(options: argparse.Namespace) -> Iterator[dict[str, float | str]]:
    """A measurement each, as they are made: network, how (it ran), and what `measure` gives."""
    for pair in options.pairs:
        ours, _, theirs = pair.partition("=")
        runs = [(f"hybridnas_{ours}", "eager"), (f"hybridnas_{ours}", "captured")]
        runs += [(theirs, "eager"), (theirs, "compiled")]
        for name, how in runs[:3] if options.no_compile else runs:
            yield {"network": name, "how": how, **measure(name, how, options)}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("pairs", nargs="+", metavar="OURS=TIMM", help="a reference; a timm model")
    made.add_argument("--batch", type=int, default=128)
    made.add_argument("--size", type=int, default=224)
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--drop-path", type=float, default=0.1)
    made.add_argument("--channels-last", action="store_true", help="timm's in NHWC memory")
    made.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures here too")
    return made


def main() -> None:
    options = parser().parse_args()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {options.batch}")
    print(f"{'':44} {'images/s':>9} {'ms':>8} {'peak MiB':>9} {'first s':>8}")
    found = {}
    for row in rows(options):
        label = f"{row['network']}, {row['how']}"
        found[label] = row
        print(
            f"{label:44} {row['images_s']:9.0f} {row['ms']:8.2f} {row['peak_mib']:9.0f} "
            f"{row['first_step_s']:8.1f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
