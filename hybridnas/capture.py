"""Work of many small kernels recorded once as a CUDA graph: replaying it costs one launch.

Recording runs nothing, but the work must have run before: libraries choose their algorithms,
kernels are compiled, an optimiser makes its moments. All that this rehearsal changes is put back,
so a captured training takes the very steps that an eager one would.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor


def capture(
    work: Callable[[], None],
    device: torch.device,
    changing: Callable[[], Iterable[Tensor]] = tuple,
) -> torch.cuda.CUDAGraph:
    """The graph of `work`, which leaves everything as it was.

    work: operations on the device, of which none waits for it, on memory that stays where it is.
    changing: the tensors that it changes in place; those that only its first run makes must start
    as zeros. Raises RuntimeError for work that cannot be recorded, OutOfMemoryError where memory
    ends; then, too, everything is as it was.
    """
    graph = torch.cuda.CUDAGraph()
    with _put_back(changing, device), torch.cuda.device(device):
        side = _side_stream(device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            _rehearse(work)
        torch.cuda.current_stream().wait_stream(side)
        # Other threads, such as a loader's that pins memory, may go on meanwhile.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            work()
    return graph


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all captures: cuBLAS keeps a workspace of megabytes for every stream it has seen."""
    return torch.cuda.Stream(device)


def _rehearse(work: Callable[[], None]) -> None:
    """Runs the work, and raises RuntimeError if it waits for the device: a recording that such an
    error ends leaves generators and the allocator as if it went on."""
    try:
        with _no_waiting():
            work()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        work()  # what runs for the first time may wait: kernels are compiled and tried
        with _no_waiting():
            work()


@contextmanager
def _no_waiting() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@contextmanager
def _put_back(changing: Callable[[], Iterable[Tensor]], device: torch.device) -> Iterator[None]:
    """Values and the device's random numbers as they were before."""
    random = torch.cuda.get_rng_state(device)
    before = {id(tensor): tensor.detach().clone() for tensor in changing()}
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor in changing():
                if id(tensor) in before:
                    tensor.copy_(before[id(tensor)])
                else:
                    tensor.zero_()
        torch.cuda.set_rng_state(random, device)
