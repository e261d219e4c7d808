"""Several processes that train one network: which one this is, and what all of them know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Share:
    """This process's part of the work: rank counts from 0. By default there is no other."""

    rank: int = 0
    num_ranks: int = 1


ALONE = Share()


def scoring_batch_size(batch_size: int, num_images: int, share: Share) -> int:
    """Of each process, for a batch of all: as when training, and less where there are so few images
    that some processes would get none."""
    at_most = -(-num_images // share.num_ranks)
    return max(1, min(batch_size // share.num_ranks, at_most))


def summed(x: Tensor) -> Tensor:
    """The sum over all processes of torch's process group, in place; of this one alone where there
    is no group."""
    if dist.is_initialized():
        dist.all_reduce(x)
    return x


def gathered(value: Any) -> list[Any]:
    """The values of all processes, by rank; they must survive pickling."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def synchronized_norms(model: torch.nn.Module) -> torch.nn.Module:
    """Batch norms of the whole batch, where it lies on several GPUs (PyTorch has none on CPUs)."""
    if not dist.is_initialized() or not next(model.parameters()).is_cuda:
        return model
    converted: torch.nn.Module = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return converted
