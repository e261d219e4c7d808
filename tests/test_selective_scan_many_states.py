"""The scan of many states in 16 bits on a GPU, whose backward has what up to 16 states need in
shared memory. Without a gate: test_selective_scan_triton.py has one."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from test_selective_scan import inputs
from test_selective_scan_triton import assert_agrees, channels_last, full_scan, part_of_rows

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton"),
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("num_states", [2, 3, 15, 16, 17, 256])
@pytest.mark.parametrize(
    ("batch", "length", "dim"),
    [(1, 4, 1), (1, 16, 33), (1, 32, 32), (2, 18, 40), (2, 20, 32), (2, 36, 70), (1, 784, 96)],
)
def test_sizes(batch: int, length: int, num_states: int, dim: int, dtype: torch.dtype) -> None:
    given = inputs(length, num_states, 1, batch=batch, dim=dim)
    tolerance = 1e-3 if dtype == torch.float16 else 8e-3
    assert_agrees({k: x for k, x in given.items() if k != "z"}, True, dtype, tolerance)


@pytest.mark.parametrize("change", [channels_last, part_of_rows])
@pytest.mark.parametrize("names", [("u", "delta"), ("B", "C")])
@pytest.mark.parametrize("length", [16, 36])
def test_layout_of_inputs_does_not_matter(length: int, names: tuple[str, ...], change: Any) -> None:
    given = inputs(length, 16, 2, batch=2, dim=72)
    given = {k: x.bfloat16().to("cuda") for k, x in given.items() if k != "z"}
    results = []
    for tensors in (given, {k: change(x) if k in names else x for k, x in given.items()}):
        leaves = {k: x.detach().requires_grad_() for k, x in tensors.items()}
        out, last = full_scan(**leaves, delta_softplus=True)
        grads = torch.autograd.grad(out.float().square().sum() + last.sum(), list(leaves.values()))
        results.append((out, last, *grads))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2 * b.abs().max().item())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_at_its_time(value: float) -> None:
    given = {k: x.bfloat16().to("cuda") for k, x in inputs(36, 16, 1, dim=72).items()}
    leaves = {k: given[k].requires_grad_() for k in ("u", "delta", "A", "B", "C")}
    out, _ = full_scan(**leaves)
    dout = torch.ones_like(out)
    dout[1, 40, 27] = value
    for of, dx in zip(
        "BC", torch.autograd.grad(out, [leaves["B"], leaves["C"]], dout), strict=True
    ):
        spoilt = ~dx.isfinite().cpu()
        times = torch.arange(36) <= 27 if of == "B" else torch.arange(36) == 27
        assert torch.equal(spoilt[1, 0], times.expand(16, -1)), of
        assert not spoilt[0].any()


def test_the_same_bits_each_time() -> None:
    given = {k: x.bfloat16().to("cuda") for k, x in inputs(196, 16, 1, dim=96).items() if k != "z"}
    runs = []
    for _ in range(5):
        leaves = {k: x.detach().requires_grad_() for k, x in given.items()}
        out, _ = full_scan(**leaves, delta_softplus=True)
        runs.append(torch.autograd.grad(out.float().square().sum(), list(leaves.values())))
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0], strict=True))
