"""The processes that torchrun started for one training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist

from ..environment import pick_device
from ..errors import ConfigError, HybridnasError
from ..processes import ALONE, Share, gathered

T = TypeVar("T")


def own_rank() -> int:
    """torchrun's number of this process; 0 where it started no other."""
    rank, ranks = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    return int(rank) if rank.isdecimal() and ranks.isdecimal() and int(ranks) > 1 else 0


@contextmanager
def told_once() -> Iterator[None]:
    """For what every process finds out for itself and alike: the first one alone tells errors."""
    try:
        yield
    except HybridnasError as error:
        error.told_by_first = own_rank() > 0
        raise


def local_rank() -> int:
    """torchrun's number of this process on its machine; 0 without torchrun."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@contextmanager
def process_group(device: str) -> Iterator[tuple[Share, torch.device]]:
    """This process's share and device, in a process group if torchrun started several.

    device: as `pick_device`; with several processes `auto` and `cuda` mean one GPU each (NCCL),
    `cpu` means gloo.
    """
    num_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if num_ranks == 1:
        yield ALONE, pick_device(device)
        return
    picked = pick_device(device)
    if picked.type == "cuda":
        # What all of a machine's processes agree on: those with a GPU would wait for the others.
        wanted = int(os.environ["LOCAL_WORLD_SIZE"])
        if picked.index is not None or wanted > torch.cuda.device_count():
            raise ConfigError(
                f"--device {device}: each process takes a GPU of its own, of which there are "
                f"{torch.cuda.device_count()} here; say auto, and torchrun --nproc-per-node that "
                "number or less"
            )
        picked = torch.device("cuda", local_rank())
        torch.cuda.set_device(picked)
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo")
    try:
        yield Share(dist.get_rank(), num_ranks), picked
    finally:
        dist.destroy_process_group()


def by_first(share: Share, work: Callable[[], T]) -> T:
    """What the first process's `work` gives, in all of them; or the error that it raises."""
    result: T | HybridnasError | None = None
    if share.rank == 0:
        try:
            result = work()
        except HybridnasError as error:
            result = error
    shared: T | HybridnasError = gathered(result)[0]
    if isinstance(shared, HybridnasError):
        shared.told_by_first = share.rank > 0
        raise shared
    return shared
