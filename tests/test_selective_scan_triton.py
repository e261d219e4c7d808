"""The Triton scan against the definition in float64: on a GPU, or on the CPU by its interpreter."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Any

import pytest
import torch
from test_selective_scan import FullScan, Inputs, inputs, oracle, outputs_and_gradients
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hybridnas_kernels import selective_scan
from hybridnas_kernels.selective_scan.layout import num_kept
from hybridnas_kernels.selective_scan.mamba import selective_scan_mamba

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton"),
    pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning"),  # NumPy's exp2
]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")]
scan: Any = selective_scan  # called with arguments from a dictionary or a list
definition: Any = oracle
full_scan: FullScan = partial(selective_scan, return_last_state=True, backend="triton")  # type: ignore[assignment]
# a tile (16 times) and one over; the same for what is read at once (32 for one state)
EDGES = [1, 15, 16, 17, 32, 33]


def gpu(length: int, dropped: str | None = None) -> object:
    return pytest.param(length, dropped, marks=GPU)


SCAN = torch.ops.hybridnas.selective_scan


def assert_agrees(
    given: Inputs,
    softplus: bool = True,
    dtype: torch.dtype = torch.float32,
    tolerance: float = 1e-5,
    full: FullScan = full_scan,
) -> None:
    rounded = {k: x.to(DEVICE, dtype).double() for k, x in given.items()}
    want = outputs_and_gradients(oracle, rounded, torch.float64, softplus)
    got = outputs_and_gradients(full, rounded, dtype, softplus)
    errors = {
        k: ((got[k].double() - want[k]).norm() / want[k].norm().clamp_min(1e-30)).item()
        for k in want
    }
    wrong = {k: e for k, e in errors.items() if not e <= tolerance}
    assert not wrong, f"relative errors above {tolerance}: {wrong}"
    assert (got["out"].dtype, got["last"].dtype) == (dtype, torch.float32)


@pytest.fixture(autouse=True)
def _poisoned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel is to write holds NaN before, so that a cell nobody wrote fails."""
    real = Tensor.new_empty

    def poisoned(self: Tensor, *args: Any, **named: Any) -> Tensor:
        fresh = real(self, *args, **named)
        return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

    monkeypatch.setattr(Tensor, "new_empty", poisoned)


@pytest.mark.parametrize("num_states", [1, 3])
@pytest.mark.parametrize("length", EDGES)
def test_lengths_at_the_edges_of_tiles(length: int, num_states: int) -> None:
    assert_agrees(inputs(length, num_states, 1, batch=1, dim=2))


@pytest.mark.parametrize("num_states", [2, 4])  # in registers; two in a turn of the loop
def test_even_numbers_of_states(num_states: int) -> None:
    assert_agrees(inputs(17, num_states, 1, batch=1, dim=2))


@pytest.mark.parametrize(("dim", "groups"), [(1, 1), (31, 1), (33, 1), (6, 6)])
def test_channels_at_the_edges_of_blocks(dim: int, groups: int) -> None:
    assert_agrees(inputs(9, 1, groups, batch=1, dim=dim))


@pytest.mark.parametrize("dropped", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
def test_optional_arguments_may_be_left_out(dropped: tuple[str, ...]) -> None:
    given = {k: x for k, x in inputs(9, 2, batch=1).items() if k not in dropped}
    assert_agrees(given, softplus=len(dropped) > 1)


@pytest.mark.parametrize("constant", [("B",), ("C",), ("B", "C")])
def test_constant_projections(constant: tuple[str, ...]) -> None:
    given = inputs(9, 2, 3, batch=1)
    assert_agrees(given | {name: given["A"] * i for i, name in enumerate(constant, start=1)})


@pytest.mark.parametrize("name", ["B", "C"])
def test_one_projection_with_a_single_group(name: str) -> None:
    given = inputs(9, 2, 3, batch=1)
    assert_agrees(given | {name: given[name][:, 0]})


# Pairs of B and C; vectors of 8, 1, 1, 4. The interpreter sees two with a gate, two without.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize(
    ("length", "dropped"),
    [(16, None), (18, "z"), (19, None), (20, "z"), gpu(16, "z"), gpu(18), gpu(19, "z"), gpu(20)],
)
def test_16_bit_types_lose_only_the_rounding_of_results(
    length: int, dtype: torch.dtype, tolerance: float, dropped: str | None
) -> None:
    given = {k: x for k, x in inputs(length, 3, 1, batch=1, dim=4).items() if k != dropped}
    assert_agrees(given, True, dtype, tolerance)


def channels_last(x: Tensor) -> Tensor:
    return x.mT.contiguous().mT


def part_of_rows(x: Tensor) -> Tensor:
    return torch.cat([x, x, x], -1)[..., 1 : 1 + x.shape[-1]].copy_(x)


@pytest.mark.parametrize("change", [channels_last, part_of_rows])
@pytest.mark.parametrize("names", [("u", "delta", "z"), ("delta",), ("B", "C")])
def test_layout_of_inputs_does_not_matter(names: tuple[str, ...], change: Any) -> None:
    given = {k: x.float().to(DEVICE) for k, x in inputs(18, 1, 1, batch=2, dim=4).items()}
    other = {k: change(x) if k in names else x for k, x in given.items()}
    results = []
    for tensors in (given, other):
        leaves = {k: x.detach().requires_grad_() for k, x in tensors.items()}
        out, last = full_scan(**leaves, delta_softplus=True)
        grads = torch.autograd.grad(out.square().sum() + last.sum(), list(leaves.values()))
        results.append((out, last, *grads))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [30.0, 1e3])
def test_large_steps(scale: float) -> None:
    """Decays that underflow, softplus far from zero on both sides."""
    given = inputs(33, 2, batch=1)
    given["delta"] = torch.randn_like(given["delta"]) * scale
    assert_agrees(given)


def test_decay_of_one_adds_up() -> None:
    assert_agrees(inputs(40, 2, batch=1) | {"A": torch.zeros(6, 2)})


def test_nan_spreads_forward_in_time_in_its_channel_alone() -> None:
    given = {k: x.float().to(DEVICE) for k, x in inputs(20, 2, 2).items()}
    given["u"][1, 4, 11] = float("nan")
    leaves = {k: x.requires_grad_() for k, x in given.items()}
    out, last = full_scan(**leaves)
    at = torch.zeros_like(out, dtype=torch.bool)
    at[1, 4, 11:] = True
    assert torch.equal(out.isnan(), at)
    assert torch.equal(last.isnan().any(-1), at[..., -1])
    dC, dD = torch.autograd.grad(out.sum(), [leaves["C"], leaves["D"]])
    assert torch.equal(dC.isnan().any(2), at.view(2, 2, 3, 20).any(2))
    assert dD.isnan().tolist() == [False] * 4 + [True, False]


@pytest.mark.parametrize("num_states", [1, 2])
def test_nan_in_the_gradient_spreads_backward_in_time(num_states: int) -> None:
    given = {k: x.float().to(DEVICE) for k, x in inputs(20, num_states, 2).items()}
    leaves = {k: x.requires_grad_() for k, x in given.items()}
    out, _ = full_scan(**leaves)
    dout = torch.ones_like(out)
    dout[1, 4, 11] = float("nan")
    names = ["u", "delta", "z", "B", "C"]
    grads = torch.autograd.grad(out, [leaves[name] for name in names], dout)
    earlier, now = torch.arange(20) <= 11, torch.arange(20) == 11
    for name, found, times in zip(names, grads, [earlier, earlier, now, earlier, now], strict=True):
        at = torch.zeros(2, 6, 20, dtype=torch.bool)
        at[1, 4] = times
        if name in "BC":  # of the second group, which has the channel
            at = at.view(2, 2, 3, 20).any(2, keepdim=True).expand(-1, -1, num_states, -1)
        assert torch.equal(found.isnan().cpu(), at), name


def test_only_the_last_state_is_used() -> None:
    given = {k: x.float().to(DEVICE).requires_grad_() for k, x in inputs(9, 2).items()}
    want = {k: x.detach().double().requires_grad_() for k, x in given.items()}
    names = ["u", "delta", "A", "B", "delta_bias"]
    got_grads = torch.autograd.grad(full_scan(**given)[1].sum(), [given[k] for k in names])
    want_grads = torch.autograd.grad(definition(**want)[1].sum(), [want[k] for k in names])
    for got, expected in zip(got_grads, want_grads, strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-5)


def test_without_gradients_the_states_are_not_kept() -> None:
    given = {k: x.float().to(DEVICE) for k, x in inputs(40, 3, 2, batch=1).items()}
    order = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    args = tuple(given[k] for k in order)
    out, last, states = SCAN(*args, True, False, True)
    kept_out, kept_last, kept_states = SCAN(*args, True, True, True)
    assert states.numel() == 0
    assert kept_states.shape == (num_kept(40), 1, 3, 6)
    assert torch.equal(out, kept_out)
    assert torch.equal(last, kept_last)


def test_operator_is_well_formed() -> None:
    given = {k: x.float().to(DEVICE) for k, x in inputs(9, 2, 2, batch=1, dim=4).items()}
    order = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    args = tuple(given[k] for k in order)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(SCAN, (*args, True, True, True), test_utils=tests)
    torch.library.opcheck(SCAN, (*args[:5], None, None, None, False, True, False), test_utils=tests)


def test_flops_are_counted_by_formula() -> None:
    given = {k: x.float().to(DEVICE).requires_grad_() for k, x in inputs(9, 2, 2).items()}
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(full_scan(**given)[0].sum())
    counts = {str(op): n for op, n in counter.get_flop_counts()["Global"].items()}
    forward = 2 * 2 * 6 * 9 * (9 * 2 + 1)
    assert sorted(n for n in counts.values() if n) == [forward, 2 * forward]


def test_second_derivative_is_refused() -> None:
    given = {k: x.float().to(DEVICE) for k, x in inputs(5, 1).items()}
    u = given.pop("u").requires_grad_()
    (grad,) = torch.autograd.grad(full_scan(u, **given)[0].square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.backward(grad.sum())


def test_a_forced_backend_that_cannot_run_says_why() -> None:
    given = {k: x.to(DEVICE) for k, x in inputs(5).items()}
    with pytest.raises(RuntimeError, match=r"float32, bfloat16 and float16, got torch\.float64"):
        scan(**given, backend="triton")
    with pytest.raises(ValueError, match="backend must be one of auto, triton, torch, mamba"):
        scan(**given, backend="cuda")


def test_mamba_is_refused_what_it_cannot_do() -> None:
    mamba: Any = selective_scan_mamba

    given = {k: x.float() for k, x in inputs(5, 2, 2).items()}
    order = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    args: Any = [given[k] for k in order]
    with pytest.raises(RuntimeError, match="delta must have u's type"):
        mamba(args[0].half(), *args[1:], True, False)
    with pytest.raises(RuntimeError, match="B and C must depend on time"):
        mamba(*args[:3], args[2], *args[4:], True, False)
    with pytest.raises(RuntimeError, match="its last state has no gradient"):
        mamba(args[0].requires_grad_(), *args[1:], True, True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("length", "num_states", "dim"), [(3136, 1, 96), (196, 16, 384), (49, 16, 768), (65, 64, 100)]
)
@pytest.mark.parametrize("mark", [pytest.param("gpu", marks=GPU)])
def test_sizes_of_networks(
    length: int, num_states: int, dim: int, dtype: torch.dtype, mark: str
) -> None:
    tolerance = 3e-6 if dtype == torch.float32 else 8e-3
    assert_agrees(inputs(length, num_states, 2, dim=dim), True, dtype, tolerance)


@pytest.mark.parametrize("mark", [pytest.param("gpu", marks=GPU)])
def test_agrees_with_mamba(mark: str) -> None:
    pytest.importorskip("mamba_ssm")
    given = {k: x.to("cuda", torch.bfloat16) for k, x in inputs(300, 16, 2, dim=64).items()}
    for name in ("A", "D", "delta_bias"):
        given[name] = given[name].float()
    results = []
    for backend in ("triton", "mamba"):
        leaves = {k: x.detach().requires_grad_() for k, x in given.items()}
        out = scan(**leaves, delta_softplus=True, backend=backend)
        grads = torch.autograd.grad(out.float().square().sum(), list(leaves.values()))
        results.append((out, *grads))
    for ours, theirs in zip(*results, strict=True):
        assert (ours.float() - theirs.float()).norm() <= 1e-2 * theirs.float().norm()


@pytest.mark.parametrize("mark", [pytest.param("gpu", marks=GPU)])
def test_compiles_and_captures(mark: str) -> None:
    given = {k: x.to("cuda").float() for k, x in inputs(100, 4, 2, dim=64).items()}
    order = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
    args = [given[k] for k in order]
    want = scan(*args, True)
    compiled: Any = torch.compile(scan, fullgraph=True)
    assert torch.equal(compiled(*args, True), want)
    cuda: Any = torch.cuda
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        got = scan(*args, True)
    got.fill_(float("nan"))
    graph.replay()
    assert torch.equal(got, want)
