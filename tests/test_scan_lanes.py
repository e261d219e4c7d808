"""The scan's sums over the lanes of a warp and its shared memory, on the CPU."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from test_selective_scan import inputs
from test_selective_scan_triton import assert_agrees, full_scan
from warp_lanes import ON_THE_CPU, give_lanes
from warp_shared import give_shared_memory

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton"),
    *ON_THE_CPU,
]


@pytest.fixture
def _lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    from hybridnas_kernels.selective_scan import triton_backward, triton_kernel

    give_lanes(monkeypatch, triton_backward)
    monkeypatch.setattr(triton_kernel, "interpreted", lambda: False)
    give_shared_memory(monkeypatch, early=False)


@pytest.fixture(params=[False, True], ids=["late", "early"])
def _copies(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    give_shared_memory(monkeypatch, early=request.param)


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


# Copies that come early are of use where there are several: of states, or of tiles (16 times).
@pytest.mark.parametrize(
    ("length", "num_states", "groups", "batch", "dim", "_copies"),
    [
        (2, 2, 1, 2, 5, False),
        *((16, 16, 1, 1, 33, early) for early in (False, True)),
        *((18, 3, 2, 1, 6, early) for early in (False, True)),
        *((50, 5, 1, 1, 5, early) for early in (False, True)),
        (34, 17, 1, 1, 2, False),  # too many for shared memory
    ],
    indirect=["_copies"],
)
def test_many_states_in_16_bits(
    length: int, num_states: int, groups: int, batch: int, dim: int, _copies: None
) -> None:
    given = inputs(length, num_states, groups, batch=batch, dim=dim)
    given = {k: x for k, x in given.items() if k != "z"}
    assert_agrees(given, True, torch.bfloat16, 8e-3)


@pytest.mark.usefixtures("_copies")
@pytest.mark.parametrize("used", [("out",), ("last",)])
def test_the_last_state_has_a_gradient_or_none(used: tuple[str, ...]) -> None:
    given = {k: x.half() for k, x in inputs(34, 3, 1, batch=1, dim=6).items() if k != "z"}
    grads = {}
    for dtype in (torch.float16, torch.float32):  # through shared memory and through memory
        leaves = {k: x.to(dtype).requires_grad_() for k, x in given.items()}
        out, last = full_scan(**leaves)
        names = [k for k in leaves if "out" in used or k not in "CD"]
        loss = out.float().sum() if "out" in used else last.sum()
        grads[dtype] = torch.autograd.grad(loss, [leaves[name] for name in names])
    for got, want in zip(grads[torch.float16], grads[torch.float32], strict=True):
        assert (got - want).norm() <= 1e-3 * want.norm()


# Each tensor in memory (float32) and in shared memory, and both values in either.
@pytest.mark.parametrize(
    ("name", "dtype", "value"),
    [
        ("u", torch.float32, float("nan")),
        ("u", torch.bfloat16, float("inf")),
        ("C", torch.float32, float("inf")),
        ("C", torch.bfloat16, float("nan")),
        ("dout", torch.float32, float("nan")),
        ("dout", torch.bfloat16, float("inf")),
    ],
)
def test_what_is_not_finite_stays_at_its_time(name: str, value: float, dtype: torch.dtype) -> None:
    """One lane's number at time 27, of the second of three tiles."""
    given = {k: x.to(dtype) for k, x in inputs(34, 2, 2, batch=1, dim=6).items()}
    given = {k: given[k] for k in ("u", "delta", "A", "B", "C")}
    dout = torch.ones(1, 6, 34, dtype=dtype)
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
