"""Kernels launched without Triton's own preparations compute what they compute with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")
import triton
import triton.language as tl

from hybridnas_kernels.triton_launch import blocks_of, launch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@triton.jit(do_not_specialize=["n"])  # type: ignore[untyped-decorator]
def scaled(x, y, other, n, factor, BLOCK: tl.constexpr, ADDED: tl.constexpr):  # type: ignore[no-untyped-def]
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(x + at, at < n, 0.0) * factor
    if ADDED:
        total += tl.load(other + at, at < n, 0.0)
    tl.store(y + at, total, at < n)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_each_launch_is_the_one_that_was_asked(dtype: torch.dtype) -> None:
    """Repeated ones too, which differ in numbers, alignment, type and what is left out."""
    room = torch.arange(64, device=DEVICE).to(dtype)
    for _ in range(2):
        for n, factor, begin, other in (
            (40, 2, 0, None),
            (40, 3, 0, None),
            (33, 2, 1, None),
            (16, 1, 0, room),
            (16, 1, 3, room),
            (1, 16, 0, room),
        ):
            x, y = room[begin:], torch.zeros_like(room)
            grid = (blocks_of(n, 16),)
            launch(scaled, grid, x, y, other, n, factor, BLOCK=16, ADDED=other is not None)
            want: Tensor = x[:n] * factor + (0 if other is None else other[:n])
            assert torch.equal(y[:n], want)
            assert not y[n:].any()


def test_blocks_cover_the_total() -> None:
    assert [blocks_of(n, 8) for n in (1, 7, 8, 9)] == [1, 1, 1, 2]
