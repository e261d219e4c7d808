"""Layer norm and its Triton kernels, against its formula in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hybridnas_kernels import layer_norm

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory holds NaN, so that what a kernel never wrote fails the comparison."""
    real = torch.empty_like
    monkeypatch.setattr(
        torch, "empty_like", lambda *a, **k: real(*a, **k).fill_(float("nan"))
    )  # fmt: skip


def arguments(*shape: int) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(s, generator=rng, dtype=torch.float64) for s in (shape, shape[-1:], shape[-1:])
    )
    return x + 0.5, weight, bias


def oracle(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def assert_agrees(
    given: tuple[Tensor, Tensor, Tensor],
    dtype: torch.dtype,
    out_dtype: torch.dtype,
    tolerance: float,
    backend: str = "triton",
) -> None:
    exact = [t.to(dtype).double().requires_grad_() for t in given]
    want = oracle(exact[0], exact[1], exact[2])
    dy = torch.randn(want.shape, generator=torch.Generator().manual_seed(1)).to(out_dtype)
    leaves = [t.detach().to(DEVICE, dtype).requires_grad_() for t in exact]
    got = layer_norm(leaves[0], leaves[1], leaves[2], 1e-6, out_dtype, backend=backend)
    assert got.dtype == out_dtype
    found = (got, *torch.autograd.grad(got, leaves, dy.to(DEVICE)))
    wanted = (want, *torch.autograd.grad(want, exact, dy.double()))
    for name, a, b in zip(("y", "dx", "dweight", "dbias"), found, wanted, strict=True):
        error = (a.cpu().double() - b).norm() / b.norm()
        assert error <= tolerance, f"{name}: {error:.1e}"


# One row; one under, at and over a power of two; rows one under and over a program's (4096 / 64);
# widths that 8 divides and 16 does not.
@pytest.mark.parametrize(
    "shape", [(1, 5), (63, 48), (65, 48), (3, 7, 64), (2, 65), (257, 16), (3, 8), (130, 40)]
)
def test_output_and_gradients(shape: tuple[int, ...]) -> None:
    given = arguments(*shape)
    assert_agrees(given, torch.float32, torch.float32, 2e-6, "torch")
    assert_agrees(given, torch.float32, torch.float32, 2e-6)
    assert_agrees(given, torch.float16, torch.float16, 1e-3)
    assert_agrees(given, torch.float16, torch.float32, 1e-3)


def test_several_blocks_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    from hybridnas_kernels.layer_norm import triton_kernel

    monkeypatch.setattr(triton_kernel, "PROGRAMS", 3)
    monkeypatch.setattr(triton_kernel, "ELEMENTS", 64)
    assert_agrees(arguments(31, 20), torch.float32, torch.float32, 2e-6)


def test_autocast_gives_float32() -> None:
    x, weight, bias = (t.to(DEVICE).float() for t in arguments(4, 16))
    with torch.autocast(DEVICE, dtype=torch.float16):
        for backend in ("triton", "torch"):
            assert layer_norm(x.half(), weight, bias, backend=backend).dtype == torch.float32
            got = layer_norm(x, weight, bias, dtype=torch.float16, backend=backend)
            assert got.dtype == torch.float16


def test_operators_keep_their_promises() -> None:
    x, weight, bias = (t.to(DEVICE).float() for t in arguments(2, 3, 20))
    ops, tests = torch.ops.hybridnas, ("test_schema", "test_faketensor")
    inputs = (x.half(), weight, bias, 1e-6, torch.float32)
    torch.library.opcheck(ops.layer_norm.default, inputs, test_utils=tests)
    y, mean, rstd = ops.layer_norm(*inputs)
    gradients = (y, x.half(), weight, mean, rstd)
    torch.library.opcheck(ops.layer_norm_backward.default, gradients, test_utils=tests)


def test_wrong_shapes_are_explained() -> None:
    x, weight, bias = arguments(4, 16)
    with pytest.raises(ValueError, match=r"bias must be \(width,\) = \(16,\), got \(15,\)"):
        layer_norm(x, weight, bias[:15])
    with pytest.raises(ValueError, match=r"x must be .* a width above 0, got \(4, 0\)"):
        layer_norm(x[:, :0], weight[:0], bias[:0])


def test_no_rows_are_no_fault() -> None:
    x, weight, bias = arguments(4, 16)
    assert layer_norm(x[:0], weight, bias).shape == (0, 16)
