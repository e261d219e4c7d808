"""The depthwise convolution's kernels for the tensor cores: float16 in Triton's interpreter, whose
products in bfloat16 are wrong; both types on a GPU."""

from __future__ import annotations

import pytest
import torch
from depthwise_oracle import assert_agrees, inputs, oracle, results
from torch import Tensor

from hybridnas_kernels import depthwise_conv2d

pytest.importorskip("triton")
from hybridnas_kernels.depthwise_conv2d import triton_kernel, triton_tensor

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float16, torch.bfloat16] if DEVICE == "cuda" else [torch.float16]
Shape = tuple[int, int, int, int]
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")


@pytest.fixture(autouse=True)
def only_tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map that falls to the general kernels fails the test."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the general kernel was launched")

    monkeypatch.setattr(triton_kernel, "conv_kernel", refused)
    monkeypatch.setattr(triton_tensor, "FAST", True)


@pytest.fixture(autouse=True)
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.empty

    def poisoned(*args: object, **options: object) -> Tensor:
        fresh: Tensor = real(*args, **options)  # type: ignore[call-overload]
        return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

    monkeypatch.setattr(torch, "empty", poisoned)


def conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return depthwise_conv2d(x, weight, bias, backend="triton")


def given(shape: Shape, k: int, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    return {name: tensor.to(dtype) for name, tensor in inputs(shape, k, DEVICE).items()}


# Products take 16 images, 8 columns and 16 channels.
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "k"),
    [
        ((4, 7, 7, 24), 7),
        ((17, 3, 9, 8), 7),
        ((16, 4, 8, 16), 5),
        ((5, 2, 15, 8), 3),
        ((4, 9, 17, 8), 9),
        ((4, 1, 1, 8), 7),
    ],
)
def test_agrees_at_block_edges(shape: Shape, k: int, dtype: torch.dtype) -> None:
    assert_agrees(conv, inputs(shape, k, DEVICE), dtype, torch.finfo(dtype).eps / 2)


def test_without_bias() -> None:
    assert_agrees(conv, inputs((4, 3, 7, 8), 3, DEVICE, bias=False), torch.float16, 5e-4)


@pytest.mark.parametrize("programs", [1, 10**6])
def test_segments_of_rows_do_not_matter(programs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_tensor, "PROGRAMS", programs)
    assert_agrees(conv, inputs((20, 17, 7, 8), 5, DEVICE), torch.float16, 5e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [(0, 0), (3, 6), (4, 7), (8, 13)])
def test_what_is_not_finite_spreads_as_far_as_the_kernel(at: tuple[int, int], value: float) -> None:
    tensors = given((4, 9, 14, 8), 5)
    tensors["x"][1, at[0], at[1], 1] = value
    tensors["dy"][2, at[0], at[1], 3] = value
    got = results(conv, tensors)
    want = results(oracle, {name: tensor.double() for name, tensor in tensors.items()})
    for name in ("y", "dx"):
        assert torch.equal(got[name].isfinite(), want[name].isfinite()), name
        torch.testing.assert_close(
            got[name].double(), want[name], rtol=2e-3, atol=2e-2, equal_nan=True
        )
    for name, channels in (("dweight", {1, 3}), ("dbias", {3})):
        spoilt = {c for c in range(8) if not got[name][c].isfinite().all()}
        assert spoilt == channels, name


def test_slices_are_read_in_place_and_written_alone() -> None:
    """x and dy lie in wider tensors full of NaN; out and dx are slices of others."""
    shape, place = (4, 5, 9, 16), slice(8, 24)
    tensors = given(shape, 5)
    want = results(oracle, {k: v.double() for k, v in tensors.items()})
    ones = torch.ones(4, 5, 9, 40, device=DEVICE, dtype=torch.float16)
    wide = {k: ones * float("nan") for k in ("x", "dy")}
    out, dx = ones * 7, ones * 7
    for name, tensor in wide.items():
        tensor[..., place] = tensors[name]
    x, dy = wide["x"][..., place], wide["dy"][..., place]
    triton_kernel.forward(x, tensors["weight"], tensors["bias"], out[..., place])
    found = triton_kernel.backward(dy, x, tensors["weight"], dx=dx[..., place])
    got = {"y": out[..., place], "dx": dx[..., place], "dweight": found[1], "dbias": found[2]}
    for name, result in got.items():
        assert result is not None
        assert (result.double() - want[name]).norm() < 5e-4 * want[name].norm()
    out[..., place] = dx[..., place] = 7.0
    assert out.eq(7).all()
    assert dx.eq(7).all()


@pytest.mark.parametrize(
    ("other", "k"),
    [
        (torch.zeros(4, 2, 3, 8), 3),  # float32
        (torch.zeros(4, 2, 3, 12).half(), 3),  # 12 channels
        (torch.zeros(4, 2, 3, 20).half()[..., :8], 3),  # pixels 40 bytes apart
        (torch.zeros(4, 2, 3, 24).half()[..., 4:12], 3),  # begins at byte 8
        (torch.zeros(3, 2, 3, 8).half(), 3),  # few images
        (torch.zeros(4, 2, 3, 8).half(), 11),
    ],
)
def test_other_maps_are_left_to_the_general_kernels(other: Tensor, k: int) -> None:
    fit = torch.zeros(4, 2, 3, 8).half()
    assert triton_tensor.fits(3, fit, fit)
    assert not triton_tensor.fits(k, other, other)


def test_the_same_inputs_give_the_same_bits() -> None:
    tensors = given((16, 7, 9, 16), 7)
    first, second = results(conv, tensors), results(conv, tensors)
    assert all(torch.equal(first[name], second[name]) for name in first)
