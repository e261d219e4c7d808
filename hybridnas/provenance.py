"""Where a figure comes from: the machine, the versions, the commit.

torch and timm are imported where they are asked, so that a report need not wait for them.
"""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VERSION = "0.1.0"  # of hybridnas, as pyproject.toml has it


def machine(device: torch.device) -> dict[str, str | int]:
    """host, device, device_type, cpu_count, torch_threads."""
    import torch

    on_gpu = device.type == "cuda"
    return {
        "host": platform.node(),
        "device": torch.cuda.get_device_name(device) if on_gpu else _cpu_name(),
        "device_type": device.type,
        "cpu_count": os.cpu_count() or 0,
        "torch_threads": torch.get_num_threads(),
    }


@cache
def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """By name; cuda: None for a torch without it."""
    import timm
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "hybridnas": VERSION,
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
