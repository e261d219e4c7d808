"""What a device is called."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch


def device_name(device: torch.device) -> str:
    """The hardware's name: the GPU's, or the processor's."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


@cache
def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
