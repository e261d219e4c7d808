"""The order of an epoch: which image is in which batch, from (seed, epoch) alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def epoch_order(num_images: int, batch_size: int, *, seed: int, epoch: int) -> Tensor:
    """(steps, batch_size) int64 on the CPU: row s holds the images of step s, none of them twice.

    Full batches only; the rest of the permutation is left out of this epoch. It is drawn on the
    CPU whatever the device, so one seed means one order everywhere: 20 ms for a million images.
    A set smaller than a batch is an error of the caller.
    """
    if not 0 < batch_size <= num_images:
        raise ValueError(f"batch_size must be 1 ... {num_images} (the images), got {batch_size}")
    random = torch.Generator().manual_seed(epoch_seed(seed, epoch))
    steps = num_images // batch_size
    return torch.randperm(num_images, generator=random)[: steps * batch_size].view(steps, -1)


def epoch_seed(seed: int, epoch: int, *purpose: int) -> int:
    """64 bits of an epoch's own, and of one of its purposes."""
    # SeedSequence keeps neighbouring seeds and epochs apart, which seed + epoch would not.
    sequence = np.random.SeedSequence([seed, epoch, *purpose])
    return int(sequence.generate_state(1, np.uint64)[0])
