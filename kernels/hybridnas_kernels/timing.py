"""How long kernels take, as the benchmarks ask it."""

from __future__ import annotations

from collections.abc import Callable

import torch


def replay_us(run: Callable[[], object]) -> float:
    """Microseconds of one replay of a CUDA graph of `run`: what the device takes, however slow the
    Python around it is. The median of some 40 ms, the second-level cache flushed before each.

    run must take its memory from PyTorch's allocator, and read nothing back.
    """
    from triton.testing import do_bench

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            run()
    torch.cuda.synchronize()
    return 1e3 * float(do_bench(graph.replay, warmup=10, rep=40, return_mode="median"))
