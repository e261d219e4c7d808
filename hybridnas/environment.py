"""Where a training runs: its device and its random numbers."""

from __future__ import annotations

import os
import random

import numpy as np
import torch

from hybridnas_kernels.backends import BACKENDS, VARIABLE, choose

from .errors import ConfigError, meant


def check_kernels(device: torch.device | None = None) -> None:
    """Raises ConfigError where the environment asks for kernels that there are none of, and where
    it forces Triton's, which cannot run on the device. device: None: nobody knows yet."""
    asked = os.environ.get(VARIABLE, BACKENDS[0])
    if asked not in BACKENDS:
        raise ConfigError(
            f"the environment variable {VARIABLE} is one of {', '.join(BACKENDS)}, "
            f"got {asked!r}{meant(asked, BACKENDS)}"
        )
    if device is not None and asked == "triton":  # mamba is of the scan alone
        try:
            choose(f"the environment variable {VARIABLE}", asked, torch.empty(0, device=device))
        except RuntimeError as error:
            raise ConfigError(f"{error}; set it to auto, or leave it unset") from None


def pick_device(name: str) -> torch.device:
    """torch's device of that name, `auto` for the best there is; ConfigError if it is not here, and
    as `check_kernels`."""
    device = _device(name)
    check_kernels(device)
    return device


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError(f"networks do not run on {device.type}")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        allowed = ["auto", "cpu", *(["cuda", "cuda:N"] if torch.cuda.is_available() else [])]
        raise ConfigError(
            f"no device {name!r} here ({first_line(error)}); allowed are {', '.join(allowed)}"
        ) from None
    return device


def seed_everything(seed: int) -> None:
    """Python's, numpy's and torch's global random numbers."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of a GPU or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # The CPU's allocator and CUDA's libraries raise plain RuntimeErrors.
    signs = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


def first_line(error: BaseException) -> str:
    """Of a message, for one line of ours."""
    return next(iter(str(error).splitlines()), "")
