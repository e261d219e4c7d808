"""Which blocks of a matrix a program computes: few shape classes, chosen on an H100."""

from __future__ import annotations

import dataclasses

import torch

FUSED_NORM_WIDTH = 256  # widest rows that a program of the fused kernels keeps on the chip


@dataclasses.dataclass(frozen=True)
class Config:
    """block_m tokens by `chunks` times block_n columns, block_k of the summed axis at a time."""

    block_m: int
    block_n: int
    block_k: int
    chunks: int = 1
    num_warps: int = 8
    num_stages: int = 3


def power_of_two(size: int) -> int:
    """The smallest power of two that is at least size and 16, the least that a product takes."""
    return max(16, 1 << (size - 1).bit_length())


def precision(dtype: torch.dtype) -> str:
    """How products of that dtype are taken: torch.backends.cuda.matmul says it for float32."""
    return "tf32" if dtype != torch.float32 or torch.backends.cuda.matmul.allow_tf32 else "ieee"


def norm_project(width: int, itemsize: int) -> Config:
    if itemsize == 4:
        return Config(32, 32, 0, num_warps=4, num_stages=2)
    return Config(128, 128, 0) if width <= 128 else Config(128, 64, 0)


def project(width: int, itemsize: int) -> Config:
    return Config(64, 64, 32, num_stages=2) if itemsize == 4 else Config(128, 256, 64)


def gate_project(width: int, itemsize: int) -> Config:
    if itemsize == 4:
        return Config(64, 64, 32, num_stages=2)
    if width <= 128:
        return Config(128, power_of_two(width), 64)
    return Config(64, 64, 64, chunks=3) if width <= 192 else Config(64, 128, 64, chunks=3)


def gate_backward(width: int, itemsize: int) -> Config:
    return Config(64, 64, 32, num_stages=2) if itemsize == 4 else Config(128, 128, 64)


def norm_backward(width: int, itemsize: int) -> Config:
    """block_n: the whole width."""
    if itemsize == 4:
        return Config(32, power_of_two(width), 32, num_stages=2)
    return Config(128, power_of_two(width), 64)


def weight_gradient(rows: int, columns: int, itemsize: int) -> Config:
    """block_m by block_n of the gradient, block_k tokens at a time."""
    if itemsize == 4:
        return Config(64, 64, 32, num_stages=2)
    return Config(128, 128, 64)


def splits(tiles: int) -> int:
    """Into how many parts the tokens are cut, so that two programs a multiprocessor run."""
    return max(1, 264 // tiles)
