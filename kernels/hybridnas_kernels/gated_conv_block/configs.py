"""Which part of a matrix a program computes: few shape classes, chosen on an H100."""

from __future__ import annotations

import dataclasses

import torch

FUSED_WIDTH = 192  # widest block whose gate is computed in the kernel of the product beside it


@dataclasses.dataclass(frozen=True)
class Config:
    """block_m tokens by `chunks` times block_n columns, block_k of the summed axis at a time."""

    block_m: int
    block_n: int
    block_k: int = 1
    chunks: int = 1
    num_warps: int = 4
    num_stages: int = 3


def power_of_two(size: int) -> int:
    """The smallest power of two that is at least size and 16."""
    return max(16, 1 << (size - 1).bit_length())


def precision(dtype: torch.dtype) -> str:
    """How products of that dtype are taken: torch.backends.cuda.matmul says it for float32."""
    return "tf32" if dtype != torch.float32 or torch.backends.cuda.matmul.allow_tf32 else "ieee"


def rows(columns: int) -> Config:
    """For what a token's channels have to be seen together."""
    whole = power_of_two(columns)
    return Config(max(1, 4096 // whole), whole)


def gate(hidden: int) -> Config:
    """For what is computed element by element."""
    return Config(16, 128)


def gate_project(width: int, itemsize: int) -> Config:
    """For widths up to FUSED_WIDTH."""
    if itemsize == 4:
        return Config(64, 64, 32, num_warps=8, num_stages=2)
    if width <= 128:
        return Config(64, power_of_two(width), 32, num_stages=4)
    return Config(64, 64, 64, chunks=3)


def gate_backward(itemsize: int) -> Config:
    """For widths up to FUSED_WIDTH."""
    return Config(32, 32, num_stages=1) if itemsize == 4 else Config(64, 32)
