"""The Gated CNN block's Triton kernels against its reference in float64.

On the CPU Triton's interpreter runs them, on maps of a few pixels; where there is a GPU, the GPU
does, on larger ones too. Sizes lie on both sides of what one program takes and of the widths where
the kernels change (configs.py), and of the multiples that parts of the matrices are padded to.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from gated_oracle import arguments, assert_close, call, results
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hybridnas_kernels import gated_conv_block
from hybridnas_kernels.gated_conv_block import configs
from hybridnas_kernels.gated_conv_block.reference import gated_conv_block_reference

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
GPU = [pytest.mark.gpu, pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")]
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.5e-2}
# (B, H, W), width, hidden, mixed, kernel
SMALL = [
    pytest.param((2, 3, 5), 16, 32, 16, (3, 3), id="aligned"),
    pytest.param((1, 4, 4), 17, 47, 15, (3, 5), id="one-off"),
    pytest.param((3, 1, 1), 33, 40, 40, (1, 1), id="pixel-all-mixed"),
    pytest.param((1, 5, 13), 24, 65, 1, (3, 3), id="tokens-65-mixed-1"),
    pytest.param((1, 2, 3), 192, 20, 10, (3, 3), id="fused-wide"),
    pytest.param((1, 2, 3), 193, 20, 10, (3, 3), id="not-fused"),
]
LARGE = [
    pytest.param((2, 14, 15), 96, 256, 96, (7, 7), id="stage1", marks=GPU),
    pytest.param((2, 14, 13), 192, 512, 192, (7, 7), id="stage2", marks=GPU),
    pytest.param((3, 14, 14), 384, 1024, 384, (7, 7), id="stage3", marks=GPU),
    pytest.param((5, 7, 7), 576, 1536, 576, (7, 7), id="stage4", marks=GPU),
    pytest.param((2, 9, 9), 128, 341, 128, (7, 7), id="base", marks=GPU),
]


@pytest.fixture(autouse=True)
def poisoned_empty() -> Iterator[None]:
    """Fresh memory holds NaN, so that what a kernel never wrote fails the comparison."""
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    was = torch.are_deterministic_algorithms_enabled()
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(was)
    torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]


def rounded(given: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """What the operator is given in dtype, as the reference's float64."""
    return tuple(t.to(dtype).double() for t in given)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "branch-scale"])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, pytest.param(torch.bfloat16, marks=GPU)], ids=str
)
@pytest.mark.parametrize(("size", "width", "hidden", "mixed", "kernel"), [*SMALL, *LARGE])
def test_output_and_gradients(
    size: tuple[int, int, int], width: int, hidden: int, mixed: int, kernel: tuple[int, int],
    dtype: torch.dtype, scaled: bool,
) -> None:  # fmt: skip
    given = rounded(arguments(size, width, hidden, mixed, kernel), dtype)
    scale = torch.tensor([1.25, 0.0, 2.0, 1.0, 0.5])[: size[0]] if scaled else None
    on_device = None if scale is None else scale.to(DEVICE, dtype)
    got = results(gated_conv_block, given, dtype, DEVICE, branch_scale=on_device, backend="triton")
    assert all(t.dtype == dtype and t.is_contiguous() for t in got.values())
    want = results(gated_conv_block_reference, given, torch.float64, branch_scale=scale)
    assert_close(got, want, TOLERANCE[dtype])


def test_large_gates_and_constant_tokens() -> None:
    """The gate's tails; tokens whose channels are all alike, where only eps bounds 1 / std."""
    x, *parameters = arguments((1, 3, 4), 16, 32, 16)
    x[0, 1] = 3.0
    parameters[2] *= 8
    given = rounded((x, *parameters), torch.float32)
    got = results(gated_conv_block, given, torch.float32, DEVICE, backend="triton")
    want = results(gated_conv_block_reference, given, torch.float64)
    # The gradient of x is 1 / sqrt(eps) of rounding errors there, by far its largest.
    assert_close(got, want, 2e-4)


def test_nan_stays_where_it_can_reach() -> None:
    """In one pixel: it makes NaN of the pixels under the kernel there, and of no others."""
    given = [t.float().to(DEVICE) for t in arguments((2, 6, 6), 16, 32, 8)]
    given[0][1, 2, 3, 5] = float("nan")
    got = call(gated_conv_block, tuple(given), backend="triton").isnan()
    want = torch.zeros_like(got)
    want[1, 1:4, 2:5] = True
    assert torch.equal(got, want)


def test_autocast_computes_products_in_its_dtype() -> None:
    given = tuple(t.float().to(DEVICE) for t in arguments((2, 3, 3), 16, 48, 16))
    dtype = torch.float16
    with torch.autocast(DEVICE, dtype=dtype):
        got = results(gated_conv_block, given, torch.float32, DEVICE, backend="triton")
    assert {t.dtype for t in got.values()} == {torch.float32}
    want = results(gated_conv_block_reference, tuple(t.cpu() for t in given), torch.float64)
    assert_close(got, want, TOLERANCE[dtype])
    precise = results(gated_conv_block, given, torch.float32, DEVICE, backend="triton")
    assert (got["out"] - precise["out"]).norm() > 1e-5 * precise["out"].norm()


def test_layout_of_inputs_does_not_matter() -> None:
    given = tuple(t.float().to(DEVICE) for t in arguments((2, 3, 4), 16, 32, 16))
    spread = tuple(t.repeat_interleave(2, dim=-1)[..., ::2] for t in given)
    assert not any(t.is_contiguous() for t in spread[:5])
    want = call(gated_conv_block, given, backend="triton")
    assert torch.equal(call(gated_conv_block, spread, backend="triton"), want)


@pytest.mark.parametrize("width", [16, 200])
def test_same_numbers_every_time(width: int) -> None:
    given = arguments((2, 3, 4), width, 32, 16)
    first, second = (
        results(gated_conv_block, given, torch.float32, DEVICE, backend="triton") for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_programs_beyond_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, so that a tiny map needs several along every axis."""
    monkeypatch.setattr(configs, "gate_project", lambda *_: configs.Config(16, 16, 16, chunks=2))
    monkeypatch.setattr(configs, "gate_backward", lambda *_: configs.Config(16, 16))
    given = rounded(arguments((2, 3, 5), 50, 70, 20), torch.float32)
    got = results(gated_conv_block, given, torch.float32, DEVICE, backend="triton")
    want = results(gated_conv_block_reference, given, torch.float64)
    assert_close(got, want, TOLERANCE[torch.float32])


def test_operators_keep_their_promises() -> None:
    """Schema and fake tensors of forward and backward: shapes, dtypes, strides, no aliases."""
    ops = torch.ops.hybridnas
    given = tuple(t.float().to(DEVICE) for t in arguments((2, 3, 3), 20, 47, 15))
    inputs = (*given, None, 1e-6, torch.float32)
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(ops.gated_conv_block.default, inputs, test_utils=tests)
    _, *kept = ops.gated_conv_block(*inputs)
    inputs = (torch.randn_like(given[0]), *kept, *given[1:], None)
    torch.library.opcheck(ops.gated_conv_block_backward.default, inputs, test_utils=tests)


def test_compiles_as_one_graph() -> None:
    given = arguments((2, 3, 3), 16, 32, 16)
    torch._dynamo.reset()
    compiled = torch.compile(gated_conv_block, fullgraph=True, backend="aot_eager")
    got = results(compiled, given, torch.float32, DEVICE, backend="triton")
    want = results(gated_conv_block, given, torch.float32, DEVICE, backend="triton")
    assert all(torch.equal(got[name], want[name]) for name in want)


def test_flops_are_counted() -> None:
    given = arguments((2, 3, 3), 16, 32, 16)
    with FlopCounterMode(display=False) as counted:
        results(gated_conv_block, given, torch.float32, DEVICE, backend="triton")
    macs_a_pixel = 64 * 16 + 16 * 9 + 32 * 16
    assert counted.get_total_flops() == 3 * 2 * 18 * macs_a_pixel


def test_a_second_derivative_is_refused() -> None:
    leaves = tuple(t.float().to(DEVICE).requires_grad_() for t in arguments((1, 2, 2), 16, 32, 16))
    out = call(gated_conv_block, leaves, backend="triton")
    (dx,) = torch.autograd.grad(out.square().sum(), leaves[:1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        dx.sum().backward()
