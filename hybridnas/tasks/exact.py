"""Arithmetic that a score can be repeated with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """No TF32, no autocast, no algorithms chosen by a stopwatch; all as before afterwards."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = (
        matmul.fp32_precision,
        cudnn.conv.fp32_precision,
        cudnn.benchmark,
        cudnn.deterministic,
    )
    matmul.fp32_precision, cudnn.conv.fp32_precision = "ieee", "ieee"
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        matmul.fp32_precision, cudnn.conv.fp32_precision = before[:2]
        cudnn.benchmark, cudnn.deterministic = before[2:]
