"""The scan's sums over the lanes of a warp, on the CPU: Triton's interpreter has no lanes, so what
asks for them (three instructions of PTX) is written out here from the PTX ISA's tables."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from test_selective_scan import inputs
from test_selective_scan_triton import assert_agrees, full_scan

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU has lanes: other tests use them"),
    pytest.mark.usefixtures("_lanes"),
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),
]
LANE = np.arange(32)
ROW, K = LANE // 4, LANE % 4


def mma(a: Any, b: Any, c: Any) -> list[Any]:
    """mma.sync.m16n8k8 of tf32: 4, 2 and 4 registers of each lane."""
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


@pytest.fixture
def _lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    from hybridnas_kernels.selective_scan import triton_backward, triton_kernel, triton_lanes

    def numbers(tensor: Any, kind: Any = np.float32) -> Any:
        return np.ascontiguousarray(tensor.handle.data).view(kind).reshape(32)

    def tensor(data: Any, like: Any, kind: Any) -> Any:
        shape = [int(n) for n in like.shape]
        handle = TensorHandle(data.reshape(shape), kind)
        return tl.tensor(handle, tl.block_type(kind, shape))

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
    monkeypatch.setattr(triton_backward, "lane_number", lane_number)
    monkeypatch.setattr(triton_kernel, "interpreted", lambda: False)


@pytest.mark.parametrize(("length", "num_states"), [(1, 2), (15, 3), (16, 2), (17, 3), (33, 2)])
def test_lengths_at_the_edges_of_tiles(length: int, num_states: int) -> None:
    assert_agrees(inputs(length, num_states, 1, batch=1, dim=2))


@pytest.mark.parametrize(("dim", "groups"), [(1, 1), (31, 1), (32, 1), (66, 2)])
def test_channels_at_the_edges_of_warps(dim: int, groups: int) -> None:
    assert_agrees(inputs(9, 2, groups, batch=1, dim=dim))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 2e-6), (torch.float16, 1e-3), (torch.bfloat16, 8e-3)],
)
def test_types(dtype: torch.dtype, tolerance: float) -> None:
    """All bits of a float32 count, but of bfloat16, whose results round more off than tf32."""
    assert_agrees(inputs(20, 2, 1, batch=1, dim=24), True, dtype, tolerance)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["u", "C", "dout"])
def test_what_is_not_finite_stays_at_its_time(name: str, value: float) -> None:
    """One lane's number at time 27, of the second of three tiles."""
    given = {k: x.float() for k, x in inputs(34, 2, 2, batch=1, dim=6).items()}
    given = {k: given[k] for k in ("u", "delta", "A", "B", "C")}
    dout = torch.ones(1, 6, 34)
    at = (0, 1, 0, 27) if name == "C" else (0, 4, 27)  # group 1 has channels 3 to 5
    (dout if name == "dout" else given[name])[at] = value
    leaves = {k: x.requires_grad_() for k, x in given.items()}
    out, _ = full_scan(**leaves)
    dB, dC = torch.autograd.grad(out, [leaves["B"], leaves["C"]], dout)
    later, now = torch.arange(34) >= 27, torch.arange(34) == 27
    earlier = torch.arange(34) <= 27
    never = torch.zeros(34, dtype=torch.bool)
    want_B, want_C = {"u": (now, later), "C": (earlier, never), "dout": (earlier, now)}[name]
    assert torch.equal(~dB[0, 1].isfinite().all(0), want_B)
    assert torch.equal(~dC[0, 1].isfinite().all(0), want_C)
    assert dB[0, 0].isfinite().all()
    assert dC[0, 0].isfinite().all()
