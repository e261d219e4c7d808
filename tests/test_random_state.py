"""All global random numbers, kept in a file and put back."""

from __future__ import annotations

import io
import random

import numpy as np
import torch

from hybridnas.train.random_state import random_state, restore_random_state

CPU = torch.device("cpu")


def draws() -> list[float]:
    # An odd number of normal draws: numpy keeps the second one of a pair for the next call.
    found = [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]
    return [*found, *torch.rand(3).tolist()]


def test_every_generator_goes_on_where_it_stood() -> None:
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    draws()
    file = io.BytesIO()
    torch.save(random_state(CPU), file)
    want = draws()
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    file.seek(0)
    restore_random_state(torch.load(file, weights_only=True), CPU)
    assert draws() == want
