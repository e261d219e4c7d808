"""How much memory a run takes at its peak."""

from __future__ import annotations

import gc
import itertools
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from .timing import Run


def peak_mib(make: Callable[[], Run], device: torch.device) -> float:
    """MiB of tensors at the peak of one run, with all that `make` makes for it.

    As torch's allocator counts: on CUDA what is reserved on top is not in it.
    """
    gc.collect()
    if device.type != "cuda":
        return _traced_peak(make) / 2**20
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run = make()
    run()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - before) / 2**20


def _traced_peak(make: Callable[[], Run]) -> int:
    """Bytes: the CPU's allocator has no counters, so each of its steps is traced."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # above USDT, the last of its levels: nothing
    with torch.profiler.profile(
        activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as trace:
        run = make()
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    steps = [event for event in events if event.get("name") == "[memory]"]
    steps.sort(key=lambda event: event["ts"])
    held = itertools.accumulate(int(event["args"]["Bytes"]) for event in steps)
    return max(held, default=0)
