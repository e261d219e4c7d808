"""The scan that can be traced and scripted, against the same oracle as the reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from test_selective_scan import Inputs, inputs, oracle, outputs_and_gradients
from torch import Tensor

from hybridnas_kernels import selective_scan, selective_scan_traceable


def traceable(delta_softplus: bool = False, **given: Tensor) -> tuple[Tensor, Tensor]:
    u, delta, A, B, C = (given[name] for name in ("u", "delta", "A", "B", "C"))
    D, z, bias = (given.get(name) for name in ("D", "z", "delta_bias"))
    return selective_scan_traceable(u, delta, A, B, C, D, z, bias, delta_softplus)


def assert_agrees(given: Inputs, softplus: bool) -> None:
    want = outputs_and_gradients(oracle, given, torch.float64, softplus)
    got = outputs_and_gradients(traceable, given, torch.float64, softplus)
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, atol=1e-10, rtol=1e-10, msg=name)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 31, 32, 33])
def test_it_agrees_at_powers_of_two(length: int) -> None:
    assert_agrees(inputs(length), softplus=length % 2 == 0)


@pytest.mark.parametrize("groups", [0, 1, 2, 6])
def test_it_agrees_in_every_layout(groups: int) -> None:
    given = inputs(7, 3, groups)
    assert_agrees(given, softplus=True)
    constant = {**given, "C": given["C"][0, ..., 0].expand(6, 3).clone()} if not groups else given
    assert_agrees(constant, softplus=False)
    assert_agrees({k: x for k, x in given.items() if k not in ("D", "z", "delta_bias")}, True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_its_state_is_float32(dtype: torch.dtype) -> None:
    given = {name: x.to(dtype) for name, x in inputs(20).items()}
    out, last = traceable(False, **given)
    assert (out.dtype, last.dtype) == (dtype, torch.float32)
    want, _ = oracle(False, **{name: x.double() for name, x in given.items()})
    error = (out.double() - want).norm() / want.norm()
    assert error < {torch.bfloat16: 0.01, torch.float16: 1e-3, torch.float32: 1e-6}[dtype]


def test_what_traces_gets_it_by_itself() -> None:
    given = inputs(12, 2, 1)
    arguments = (given["u"], given["delta"], given["A"], given["B"], given["C"])

    def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        return selective_scan(u, delta, A, B, C)

    class Scan(torch.nn.Module):
        def forward(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
            return selective_scan(u, delta, A, B, C)

    want = scan(*arguments)
    program = torch.export.export(Scan(), arguments)
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    assert len(nodes) < 100, "no loop over the positions"
    compiled: Callable[..., Tensor] = torch.compile(scan, backend="eager", fullgraph=True)
    for got in (program.module()(*arguments), compiled(*arguments)):
        torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
