"""Where a training runs: its device, its random numbers, and what is recorded of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import random
import subprocess
from functools import cache
from pathlib import Path

import numpy as np
import timm
import torch

from .errors import ConfigError


def pick_device(name: str) -> torch.device:
    """torch's device of that name, `auto` for the best there is; ConfigError if it is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"no device {name!r} here ({first_line(error)}); allowed are auto, cpu, cuda, cuda:N"
        ) from None
    return device


def seed_everything(seed: int) -> None:
    """Python's, numpy's and torch's global random numbers."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def first_line(error: BaseException) -> str:
    """Of a message, for one line of ours."""
    return next(iter(str(error).splitlines()), "")


def machine(device: torch.device, eval_batch_size: int) -> dict[str, str | int]:
    """Where something was measured."""
    on_gpu = device.type == "cuda"
    return {
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        "device_type": device.type,
        "cpu_count": os.cpu_count() or 0,
        "torch_threads": torch.get_num_threads(),
        "eval_batch_size": eval_batch_size,
    }


@cache
def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Of what decides a result."""
    try:
        own: str | None = importlib.metadata.version("hybridnas")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout
        own = None
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "hybridnas": own,
        "cuda": torch.version.cuda,
    }


@cache
def git_commit() -> str | None:
    """The commit of the checkout that hybridnas runs from; None where it is installed."""
    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / ".git").exists():
        return None
    asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):  # no git here
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
