"""The depthwise convolution's Triton kernels: on a GPU, or in Triton's interpreter without one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from depthwise_oracle import assert_agrees, inputs, oracle, results
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hybridnas_kernels import depthwise_conv2d
from hybridnas_kernels.triton_launch import launch

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
NEEDS_GPU = pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
conv: Callable[..., Tensor] = partial(depthwise_conv2d, backend="triton")
Shape = tuple[int, int, int, int]


@pytest.fixture(autouse=True)
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.empty hands out NaN, so that a cell nobody wrote fails the comparison."""
    real = torch.empty

    def poisoned(*args: object, **options: object) -> Tensor:
        fresh: Tensor = real(*args, **options)  # type: ignore[call-overload]
        return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

    monkeypatch.setattr(torch, "empty", poisoned)


# Strips are 7 or 8 columns, lanes 32; 4 columns from k = 11 on. Rows are as few as show how strips
# are cut: those of (2, 7, 7, 33) and (1, 9, 14, 9) are as many as the kernel's and more.
@pytest.mark.parametrize(
    ("shape", "k"),
    [
        ((2, 7, 7, 33), 7),
        ((1, 2, 15, 24), 7),
        ((1, 6, 8, 31), 7),
        ((1, 5, 15, 5), 7),
        ((1, 4, 14, 9), 7),  # two strips that fill the rows, each with its margin in the other
        ((1, 4, 14, 32), 7),  # a program's lanes are channels of one strip
        ((1, 3, 16, 64), 7),
        ((2, 3, 7, 32), 7),  # one strip: no margin
        ((1, 3, 8, 3), 9),
        ((1, 3, 16, 3), 9),
        ((1, 2, 21, 32), 7),
        ((1, 2, 9, 32), 7),
        ((1, 3, 4, 5), 11),
        ((1, 2, 8, 32), 11),  # the margin is wider than the other strip
        ((1, 9, 14, 9), 5),
        ((2, 4, 6, 32), 3),
        ((1, 3, 20, 3), 3),
        ((1, 1, 1, 1), 7),
        ((1, 6, 1, 2), 9),
        ((1, 2, 9, 2), 13),
    ],
)
def test_agrees_at_block_edges(shape: Shape, k: int) -> None:
    assert_agrees(conv, inputs(shape, k, DEVICE), torch.float32, 1e-6)


@pytest.mark.gpu
@NEEDS_GPU
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("k", range(3, 14, 2))
@pytest.mark.parametrize(
    "shape",
    [
        *((3, 56, 56, 96), (2, 17, 29, 40), (130, 7, 7, 64), (1, 64, 128, 8), (8, 14, 14, 384)),
        *((3, 7, 7, 40), (3, 14, 14, 40), (1, 8, 8, 33), (2, 16, 16, 96), (1, 16, 16, 1)),
    ],
)
def test_agrees_on_maps_of_networks(shape: Shape, k: int, dtype: torch.dtype) -> None:
    # float16: one rounding, all of the error where one number is the result (dbias of C = 1).
    tolerance = {torch.bfloat16: 3e-3, torch.float16: 2**-11, torch.float32: 2e-6}[dtype]
    assert_agrees(conv, inputs(shape, k, DEVICE), dtype, tolerance)


def test_bfloat16_is_cut_into_strips_of_7_where_they_fill_the_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the output and in the gradient of x, of 7 x 7, whose products then have a better order."""
    from hybridnas_kernels.depthwise_conv2d import triton_kernel

    strips: list[tuple[object, object]] = []

    def seen(kernel: object, grid: tuple[int, ...], *args: object, **constants: object) -> None:
        if "TW" in constants:
            strips.append((constants["TW"], constants["EVEN"]))
        launch(kernel, grid, *args, **constants)

    monkeypatch.setattr(triton_kernel, "launch", seen)
    for dtype, width, k, want in [
        (torch.bfloat16, 56, 7, [(7, True), (7, True), (8, True)]),
        (torch.float16, 56, 7, [(8, True)] * 3),
        (torch.bfloat16, 48, 7, [(8, True)] * 3),
        (torch.bfloat16, 13, 7, [(7, False)] * 3),
        (torch.bfloat16, 56, 5, [(8, True)] * 3),
    ]:
        strips.clear()
        results(conv, {n: v.to(dtype) for n, v in inputs((1, 1, width, 1), k, DEVICE).items()})
        assert strips == want


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_types_lose_only_the_rounding_of_results(dtype: torch.dtype) -> None:
    assert_agrees(conv, inputs((1, 6, 7, 4), 5, DEVICE), dtype, torch.finfo(dtype).eps / 2)


@pytest.mark.parametrize(
    "shape", [(1, 4, 14, 9), (1, 2, 14, 32), (2, 9, 7, 4), (1, 3, 7, 32), (1, 1, 56, 2)]
)
def test_bfloat16_7x7(shape: Shape) -> None:
    """Strips of 7 that fill the rows, also where the gradient of the weight takes 8."""
    # Triton's interpreter cuts a float32 off where a GPU rounds it.
    tolerance = torch.finfo(torch.bfloat16).eps / (1 if DEVICE == "cpu" else 2)
    assert_agrees(conv, inputs(shape, 7, DEVICE), torch.bfloat16, tolerance)


def test_without_bias() -> None:
    assert_agrees(conv, inputs((1, 4, 7, 4), 3, DEVICE, bias=False), torch.float32, 1e-6)


@pytest.mark.parametrize("programs", [1, 10**6])
def test_how_the_work_is_cut_does_not_matter(
    programs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One program adds all weight gradients up, or each image is cut into segments of rows."""
    from hybridnas_kernels.depthwise_conv2d import triton_kernel

    monkeypatch.setattr(triton_kernel, "PROGRAMS", programs)
    assert_agrees(conv, inputs((2, 18, 7, 2), 5, DEVICE), torch.float32, 1e-6)


@pytest.mark.parametrize(
    ("width", "place"),
    [
        (14, slice(0, 5)),
        (14, slice(3, 8)),
        (24, slice(4, 12)),  # read as vectors, if not of 16 bytes
        (24, slice(16, None)),
    ],
)
@pytest.mark.parametrize(  # one strip, two that do not fill the rows, two that do
    "columns", [pytest.param(7, marks=[pytest.mark.gpu, NEEDS_GPU]), 9, 14]
)
def test_slices_are_read_in_place_and_written_alone(width: int, place: slice, columns: int) -> None:
    """x and dy lie in wider tensors full of NaN; out and dx are slices of others."""
    from hybridnas_kernels.depthwise_conv2d.triton_kernel import backward, forward

    shape = (2, 5, columns, len(range(width)[place]))
    given = {k: v.float() for k, v in inputs(shape, 5, DEVICE).items()}
    want = results(oracle, {k: v.double() for k, v in given.items()})
    wide = {k: torch.full((2, 5, columns, width), float("nan"), device=DEVICE) for k in ("x", "dy")}
    out, dx = (torch.full((2, 5, columns, width), 7.0, device=DEVICE) for _ in range(2))
    for name, tensor in wide.items():
        tensor[..., place] = given[name]
    x, dy = wide["x"][..., place], wide["dy"][..., place]
    forward(x, given["weight"], given["bias"], out[..., place])
    found = backward(dy, x, given["weight"], dx=dx[..., place])
    got = {"y": out[..., place], "dx": dx[..., place], "dweight": found[1], "dbias": found[2]}
    for name, result in got.items():
        assert result is not None
        torch.testing.assert_close(result.double(), want[name], rtol=1e-5, atol=1e-5)
    out[..., place] = dx[..., place] = 7.0
    assert out.eq(7).all()
    assert dx.eq(7).all()


def test_other_layouts_are_copied() -> None:
    given = {k: v.float() for k, v in inputs((2, 5, 6, 4), 3, DEVICE).items()}
    apart = {k: v.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1) for k, v in given.items()
             if k in ("x", "dy")}  # fmt: skip
    want, got = results(conv, given), results(conv, given | apart)
    assert all(torch.equal(got[k], want[k]) for k in want)
    expanded = results(conv, given | {"dy": torch.ones((), device=DEVICE).expand(2, 5, 6, 4)})
    ones = results(conv, given | {"dy": torch.ones(2, 5, 6, 4, device=DEVICE)})
    assert all(torch.equal(expanded[k], ones[k]) for k in ones)


@pytest.mark.parametrize("channels", [2, 32])
@pytest.mark.parametrize(
    ("width", "at"),
    [(14, (0, 0)), (14, (3, 6)), (14, (4, 7)), (14, (8, 13)), (7, (4, 6)), (21, (4, 7))],
)
def test_nan_spreads_as_far_as_the_kernel(width: int, at: tuple[int, int], channels: int) -> None:
    given = inputs((1, 9, width, channels), 5, DEVICE)
    given["x"][0, at[0], at[1], 1] = float("nan")
    got = conv(*(given[k].float() for k in ("x", "weight", "bias")))
    assert torch.equal(got.isnan(), oracle(given["x"], given["weight"]).isnan())


@pytest.mark.parametrize("needed", [("x",), ("weight",), ("bias",), ("x", "bias")])
def test_gradients_that_are_not_needed_are_left_out(needed: tuple[str, ...]) -> None:
    given = {k: v.float() for k, v in inputs((1, 4, 7, 3), 3, DEVICE).items()}
    want = results(conv, given)
    leaves = {k: v.requires_grad_(k in needed) for k, v in given.items() if k != "dy"}
    torch.autograd.backward(conv(**leaves), given["dy"])
    for name, leaf in leaves.items():
        if name in needed:
            assert leaf.grad is not None
            assert torch.equal(leaf.grad, want[f"d{name}"])
        else:
            assert leaf.grad is None


def test_an_empty_batch() -> None:
    given = {k: v.float() for k, v in inputs((0, 4, 7, 3), 3, DEVICE).items()}
    got = results(conv, given)
    assert got["y"].shape == got["dx"].shape == (0, 4, 7, 3)
    assert got["dweight"].eq(0).all()
    assert got["dbias"].eq(0).all()


def test_second_derivative_is_refused() -> None:
    given = {k: v.float().requires_grad_() for k, v in inputs((1, 4, 7, 2), 3, DEVICE).items()}
    y = conv(given["x"], given["weight"])
    (dx,) = torch.autograd.grad(y.square().sum(), given["x"], create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.backward(dx.sum())


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # opcheck reads one itself
def test_as_torch_library_wants_it() -> None:
    given = {k: v.float() for k, v in inputs((1, 4, 7, 3), 3, DEVICE).items()}
    x, weight, dy, bias = given.values()
    torch.library.opcheck(torch.ops.hybridnas.depthwise_conv2d, (x, weight, bias))
    torch.library.opcheck(torch.ops.hybridnas.depthwise_conv2d, (x, weight, None))
    for needs in ((True, True, True), (False, True, False), (True, False, False)):
        torch.library.opcheck(
            torch.ops.hybridnas.depthwise_conv2d_backward, (dy, x, weight, *needs)
        )


def test_compiles_to_a_full_graph() -> None:
    given = {k: v.float() for k, v in inputs((1, 4, 7, 3), 3, DEVICE).items()}
    compiled: Callable[..., Tensor] = torch.compile(
        lambda **given: conv(**given).square(), fullgraph=True, backend="aot_eager"
    )
    want = results(lambda **given: conv(**given).square(), given)
    got = results(compiled, given)
    assert all(torch.equal(got[k], want[k]) for k in want)


def test_autocast_casts_as_it_does_for_conv2d() -> None:
    given = {k: v.float() for k, v in inputs((1, 4, 7, 3), 3, DEVICE).items() if k != "dy"}
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        got = conv(**given)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, conv(**{k: v.bfloat16() for k, v in given.items()}))


def test_flops_are_two_a_tap() -> None:
    given = {k: v.float() for k, v in inputs((2, 4, 7, 3), 5, DEVICE).items()}
    with FlopCounterMode(display=False) as counter:
        results(conv, given)
    forward = 2 * 2 * 4 * 7 * 3 * 25
    assert counter.get_total_flops() == 3 * forward


@pytest.mark.gpu
@NEEDS_GPU
def test_captured_in_a_graph_gives_the_same_bits() -> None:
    given = {k: v.bfloat16() for k, v in inputs((4, 14, 14, 96), 7, DEVICE).items()}
    want = results(conv, given)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = results(conv, given)
    graph.replay()
    assert all(torch.equal(got[k], want[k]) for k in want)
