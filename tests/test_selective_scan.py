"""The selective scan against its definition: a plain loop over time in float64.

Agreement is norm-wise: |got - want| / |want| (Euclidean norms over the whole tensor), for the
output, the last state and the gradient of every tensor that went in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hybridnas_kernels import selective_scan
from hybridnas_kernels.selective_scan.recurrence import linear_recurrence_

Inputs = dict[str, Tensor]
FullScan = Callable[..., tuple[Tensor, Tensor]]  # gives the last state as well
scan: Callable[..., Tensor] = selective_scan
scan_with_state: FullScan = partial(selective_scan, return_last_state=True)  # type: ignore[assignment]
CHUNK_EDGES = [1, 2, 3, 15, 16, 17, 63, 64, 65, 100]
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_CUDA])]


def oracle(delta_softplus: bool = False, **given: Tensor) -> tuple[Tensor, Tensor]:
    """The definition, one step of time after the other, every projection written out in full."""
    u, delta, A = given["u"], given["delta"], given["A"]
    batch, dim, length = u.shape

    def in_full(x: Tensor) -> Tensor:  # any layout of B or C -> (batch, dim, N, L)
        if x.dim() == 2:
            return x[None, :, :, None].expand(batch, -1, -1, length)
        x = x if x.dim() == 4 else x[:, None]
        return x.repeat_interleave(dim // x.shape[1], dim=1)

    B, C = in_full(given["B"]), in_full(given["C"])
    delta = delta + given["delta_bias"][:, None] if "delta_bias" in given else delta
    delta = F.softplus(delta) if delta_softplus else delta
    h = u.new_zeros(batch, dim, A.shape[1])
    steps = []
    for t in range(length):
        dt = delta[:, :, t, None]
        h = torch.exp(dt * A) * h + dt * B[..., t] * u[:, :, t, None]
        steps.append((C[..., t] * h).sum(-1))
    y = torch.stack(steps, dim=-1)
    y = y + given["D"][:, None] * u if "D" in given else y
    return y * F.silu(given["z"]) if "z" in given else y, h


def inputs(
    length: int, num_states: int = 4, groups: int = 0, batch: int = 2, dim: int = 6
) -> Inputs:
    """Every argument in float64; groups = 0 gives B and C their layout without groups."""
    rng = torch.Generator().manual_seed(0)

    normal = partial(torch.randn, generator=rng, dtype=torch.float64)
    bc = (batch, groups, num_states, length) if groups else (batch, num_states, length)
    return {
        "u": normal(batch, dim, length),
        "delta": normal(batch, dim, length).abs() / 2,
        "A": -normal(dim, num_states).abs() - 0.1,
        "B": normal(*bc),
        "C": normal(*bc),
        "D": normal(dim),
        "z": normal(batch, dim, length),
        "delta_bias": normal(dim).abs() / 4,
    }


def outputs_and_gradients(
    full_scan: FullScan, given: Inputs, dtype: torch.dtype, softplus: bool
) -> Inputs:
    """Output, last state, and the gradients of a fixed weighted sum of both."""
    leaves = {k: x.detach().to(dtype).requires_grad_() for k, x in given.items()}
    out, last = full_scan(**leaves, delta_softplus=softplus)
    rng = torch.Generator().manual_seed(1)
    loss = out.new_zeros((), dtype=torch.float64)
    for x in (out, last):
        weight = torch.randn(x.shape, generator=rng, dtype=torch.float64).to(x.device)
        loss = loss + (weight * x.double()).sum()
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return {"out": out, "last": last} | {f"d{k}": g for k, g in zip(leaves, grads, strict=True)}


def assert_agrees(
    given: Inputs,
    softplus: bool = False,
    dtype: torch.dtype = torch.float32,
    tolerance: float = 1e-4,
    device: str = "cpu",
) -> None:
    """The scan in `dtype` agrees with the oracle on the same (rounded) numbers in float64."""
    rounded = {k: x.to(device, dtype).double() for k, x in given.items()}
    want = outputs_and_gradients(oracle, rounded, torch.float64, softplus)
    got = outputs_and_gradients(scan_with_state, rounded, dtype, softplus)
    # A zero gradient (of A, where L = 1) must be zero here too, hence the clamp.
    errors = {
        k: ((got[k].double() - want[k]).norm() / want[k].norm().clamp_min(1e-30)).item()
        for k in want
    }
    wrong = {k: e for k, e in errors.items() if not e <= tolerance}
    assert not wrong, f"relative errors above {tolerance}: {wrong}"
    assert got["out"].dtype == dtype
    assert got["last"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.fixture
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.empty* hands out NaN, so that a cell nobody wrote fails the comparison."""
    for name in ("empty", "empty_like"):
        real = getattr(torch, name)

        def poisoned(*args: object, real: Callable[..., Tensor] = real, **kw: object) -> Tensor:
            fresh = real(*args, **kw)
            return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

        monkeypatch.setattr(torch, name, poisoned)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("softplus", [False, True])
@pytest.mark.parametrize("length", CHUNK_EDGES)
@pytest.mark.usefixtures("poisoned_empty")
def test_agrees_at_chunk_edges(length: int, softplus: bool, device: str) -> None:
    assert_agrees(inputs(length), softplus, device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("num_states", [1, 16])
@pytest.mark.usefixtures("poisoned_empty")
def test_agrees_with_groups(num_states: int, groups: int, device: str) -> None:
    assert_agrees(inputs(33, num_states, groups), softplus=True, device=device)


@pytest.mark.parametrize("constant", [("B",), ("C",), ("B", "C")])
@pytest.mark.parametrize("groups", [0, 3])
def test_agrees_with_constant_projections(groups: int, constant: tuple[str, ...]) -> None:
    given = inputs(20, groups=groups)
    assert_agrees(given | {name: given["A"] * i for i, name in enumerate(constant, start=1)})


@pytest.mark.parametrize("name", ["B", "C"])
def test_agrees_where_one_projection_has_a_single_group(name: str) -> None:
    given = inputs(20, groups=3)
    assert_agrees(given | {name: given[name][:, 0]})


@pytest.mark.parametrize("dropped", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
def test_optional_arguments_may_be_left_out(dropped: tuple[str, ...]) -> None:
    assert_agrees({k: x for k, x in inputs(10).items() if k not in dropped})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, 1e-3), (torch.bfloat16, 8e-3), (torch.float64, 1e-13)],
)
def test_types_lose_only_the_rounding_of_results(
    dtype: torch.dtype, tolerance: float, device: str
) -> None:
    """A tolerance is about the type's spacing; 16-bit arithmetic would not pass."""
    assert_agrees(inputs(300, groups=2), True, dtype, tolerance, device)


def test_gradcheck() -> None:
    given = inputs(5, num_states=2, groups=2, batch=1, dim=4)
    leaves = tuple(x.requires_grad_() for x in given.values())
    assert torch.autograd.gradcheck(lambda *x: scan(*x, True, True), leaves)


def test_second_derivative_is_refused() -> None:
    u = inputs(5)["u"].requires_grad_()
    out = scan(**(inputs(5) | {"u": u}))
    (grad,) = torch.autograd.grad(out.square().sum(), u, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        torch.autograd.backward(grad.sum())


@pytest.mark.parametrize("scale", [1e3, 1e6])
def test_decay_that_underflows_leaves_all_finite(scale: float) -> None:
    given = inputs(64)
    given["A"] *= scale
    assert torch.exp(given["delta"].float() * given["A"][:, :1].float()).min() == 0
    assert_agrees(given)


def test_decay_of_one_adds_up() -> None:
    """A = 0 never forgets: the last state is the sum of all that came in."""
    assert_agrees(inputs(1000) | {"A": torch.zeros(6, 4)})


@pytest.mark.parametrize("length", [*CHUNK_EDGES, 4, 5, 99, 1023])
def test_recurrence_reversed_is_its_transpose(length: int) -> None:
    """<g, solve(b)> = <solve_reversed(g), b> for every b and g, which the backward relies on."""
    rng = torch.Generator().manual_seed(length)
    a, b, g = (torch.rand(length, 3, generator=rng, dtype=torch.float64) for _ in range(3))
    ahead = (g * linear_recurrence_(a, b.clone())).sum()
    back = (linear_recurrence_(a, g.clone(), reverse=True) * b).sum()
    torch.testing.assert_close(ahead, back)


class CountOps(TorchDispatchMode):
    """Counts operators that compute; views cost no kernel."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def test_steps_grow_with_the_root_of_the_length() -> None:
    def num_ops(length: int) -> int:
        given = {k: x.float().requires_grad_() for k, x in inputs(length, batch=1, dim=1).items()}
        with CountOps() as forward_and_backward:
            torch.autograd.backward(scan(**given).sum())
        return forward_and_backward.count

    for length in (64, 1000, 4096, 4099):  # 8 sqrt(L) is what the two should take
        assert 4 * sqrt(length) < num_ops(length) - num_ops(1) < 10 * sqrt(length)


def test_counters_of_macs_see_nothing() -> None:
    """The scan's MACs are added by formula; counted here as well, they would count twice."""
    counters = pytest.importorskip("fvcore.nn")

    class Scan(torch.nn.Module):
        def forward(self, *x: Tensor) -> Tensor:
            return scan(*x, delta_softplus=True)

    args = tuple(x.float() for x in inputs(17, groups=2).values())
    counter = counters.FlopCountAnalysis(Scan(), args).unsupported_ops_warnings(False)
    assert counter.tracer_warnings("none").total() == 0


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_leaves_the_arithmetic_in_float32(device: str) -> None:
    given = {k: x.to(device).float() for k, x in inputs(300, groups=2).items()}
    want = scan(**given, delta_softplus=True)
    with torch.autocast(device, dtype=torch.bfloat16):
        got = scan(**given, delta_softplus=True)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)


def test_layout_of_inputs_does_not_matter() -> None:
    given = {k: x.float() for k, x in inputs(37, groups=2).items()}
    mirrored = {k: x.mT.contiguous().mT if x.dim() > 1 else x for k, x in given.items()}
    spread = {k: x.repeat_interleave(2, dim=-1)[..., ::2] for k, x in given.items()}
    want = scan(**given)
    for other in (mirrored, spread):
        assert not other["u"].is_contiguous()
        assert torch.equal(scan(**other), want)
        assert_agrees(other)


def test_gradients_can_be_taken_twice_from_one_graph() -> None:
    """The backward works in place, but only in memory of its own."""
    leaves = [x.requires_grad_() for x in inputs(9).values()]
    total = scan(*leaves).sum()
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    second = torch.autograd.grad(total, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("u", (2, 6, 0), r"u must be \(batch, dim, L\) with L >= 1, got \(2, 6, 0\)"),
        ("A", (5, 4), r"A must be \(dim, N\) with dim = 6 and N >= 1, got \(5, 4\)"),
        ("delta", (2, 6, 9), r"delta must be \(batch, dim, L\) = \(2, 6, 8\), got \(2, 6, 9\)"),
        ("z", (2, 8, 6), r"z must be .* = \(2, 6, 8\), got \(2, 8, 6\)"),
        ("D", (5,), r"D must be \(dim,\) = \(6,\), got \(5,\)"),
        ("delta_bias", (6, 1), r"delta_bias must be \(dim,\) = \(6,\), got \(6, 1\)"),
        ("B", (2, 8, 4), r"B must be .*\(batch, N, L\) = \(2, 4, 8\).* got \(2, 8, 4\)"),
        ("C", (2, 3, 5, 8), r"C must be .*\(2, G, 4, 8\); got \(2, 3, 5, 8\)"),
        ("B", (2, 4, 4, 8), r"B has 4 groups .* do not divide the 6 channels"),
        ("C", (2, 3, 4, 8), r"the same number of groups.* B \(2, 2, 4, 8\) and C \(2, 3, 4, 8\)"),
    ],
)
def test_wrong_shapes_are_explained(name: str, shape: tuple[int, ...], message: str) -> None:
    given = inputs(8, groups=2) | {name: torch.rand(shape)}
    with pytest.raises(ValueError, match=message):
        scan(**given)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_other_than_real_numbers_are_refused(dtype: torch.dtype) -> None:
    with pytest.raises(ValueError, match=f"A must hold real .* got {dtype}"):
        scan(**(inputs(8) | {"A": torch.ones(6, 4, dtype=dtype)}))
