"""The lanes of a warp for Triton's interpreter, which has none: what kernels ask of them by PTX is
written out here from the PTX ISA's tables (mma.sync.m16n8k8 of tf32, shfl.sync.bfly, %laneid)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

# Marks of tests of kernels to which a fixture `_lanes` of theirs gives lanes.
ON_THE_CPU = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has lanes: other tests use them"),
    pytest.mark.usefixtures("_lanes"),
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
]
LANE = np.arange(32)
ROW, K = LANE // 4, LANE % 4


def give_lanes(monkeypatch: pytest.MonkeyPatch, kernel: ModuleType) -> None:
    """To hybridnas_kernels.triton_lanes and to the module of the kernel that asks for lanes."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    from hybridnas_kernels import triton_lanes

    def numbers(tensor: Any) -> Any:
        return np.ascontiguousarray(tensor.handle.data).view(np.float32).reshape(32)

    def tensor(data: Any, like: Any, kind: Any) -> Any:
        shape = [int(n) for n in like.shape]
        return tl.tensor(TensorHandle(data.reshape(shape), kind), tl.block_type(kind, shape))

    def fragment_products(v: Any, s: Any, c: Any) -> Any:
        values, selectors, sums = ([numbers(x) for x in xs] for xs in (v, s, c))
        for j in range(4):
            sums = mma(values[4 * j : 4 * j + 4], selectors[2 * j : 2 * j + 2], sums)
        return tuple(tensor(x, v[0], tl.float32) for x in sums)

    def exchanged(offer: Any, DISTANCE: Any) -> Any:
        return tensor(numbers(offer)[LANE ^ int(DISTANCE)], offer, tl.float32)

    def lane_number(like: Any) -> Any:
        return tensor(LANE.astype(np.int32), like, tl.int32)

    monkeypatch.setattr(triton_lanes, "fragment_products", fragment_products)
    monkeypatch.setattr(triton_lanes, "exchanged", exchanged)
    monkeypatch.setattr(kernel, "lane_number", lane_number)


def mma(a: Any, b: Any, c: Any) -> list[Any]:
    """4 registers of each lane: the product of A's 4 and B's 2, added to c's 4."""
    A, B, C = (np.zeros(shape, np.float32) for shape in ((16, 8), (8, 8), (16, 8)))
    A[ROW, K], A[ROW + 8, K], A[ROW, K + 4], A[ROW + 8, K + 4] = (tf32(x) for x in a)
    B[K, ROW], B[K + 4, ROW] = (tf32(x) for x in b)
    places = (ROW, 2 * K), (ROW, 2 * K + 1), (ROW + 8, 2 * K), (ROW + 8, 2 * K + 1)
    for place, numbers in zip(places, c, strict=True):
        C[place] = numbers
    C = C + A @ B
    return [C[place] for place in places]


def tf32(x: Any) -> Any:
    """The bits of a float32 that the matrix units read."""
    return (x.view(np.int32) & -(1 << 13)).view(np.float32)
