"""ss2d's Triton kernels against its definition: on a GPU, or through Triton's interpreter.

The interpreter takes a second for a few hundred positions, so that it sees small maps only; on a
GPU the same tests see larger ones as well.
"""

from __future__ import annotations

import os

import pytest
import torch
from ss2d_oracle import CROSS, H_FLIP, V_FLIP, H, V, assert_agrees, inputs
from torch.utils.flop_counter import FlopCounterMode

from hybridnas_kernels import ss2d

ON_GPU = torch.cuda.is_available()
if not ON_GPU:  # read when the kernels are imported, at their first use
    os.environ["TRITON_INTERPRET"] = "1"
DEVICE = "cuda" if ON_GPU else "cpu"
GPU = [pytest.mark.gpu, pytest.mark.skipif(not ON_GPU, reason="needs a CUDA device")]
pytest.importorskip("triton")


def large(*values: object) -> object:
    return pytest.param(*values, marks=GPU)


@pytest.fixture(autouse=True)
def poisoned_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.empty* and new_empty hand out NaN: a cell nobody wrote fails the comparison."""
    for owner, name in (
        (torch, "empty"),
        (torch, "empty_like"),
        (torch.Tensor, "new_empty"),
    ):
        real = getattr(owner, name)

        def poisoned(*args, real=real, **kwargs):  # type: ignore[no-untyped-def]
            fresh = real(*args, **kwargs)
            return fresh.fill_(float("nan")) if fresh.is_floating_point() else fresh

        monkeypatch.setattr(owner, name, poisoned)


@pytest.mark.parametrize(
    ("shape", "directions", "num_states", "rank"),
    [
        ((1, 4, 4, 3), [V], 1, 1),  # a chunk of positions, filled exactly
        ((2, 3, 5, 33), [H_FLIP], 1, 2),  # one position less, one channel more than a block
        ((1, 17, 1, 2), [H, V_FLIP], 2, 3),  # one position more
        ((1, 1, 1, 2), [H], 1, 1),
        ((1, 5, 3, 2), [(2, False), (2, True)], 1, 3),  # windows past the map
        ((1, 3, 3, 2), [(7, True), H], 4, 6),  # sequences of different lengths
        ((1, 3, 3, 2), [V], 6, 17),  # states in groups, a rank of two tiles
        large((2, 7, 7, 64), CROSS, 1, 3),
        large((2, 14, 9, 96), CROSS, 1, 6),
        large((2, 14, 9, 70), [(7, False), (2, True), V], 4, 6),
        large((2, 9, 14, 64), CROSS, 16, 12),
        large((2, 28, 28, 192), CROSS, 1, 24),
        large((64, 7, 7, 768), CROSS, 1, 24),
    ],
)
def test_agrees(
    shape: tuple[int, int, int, int],
    directions: list[tuple[int, bool]],
    num_states: int,
    rank: int,
) -> None:
    given = inputs(shape, len(directions), num_states, rank)
    assert_agrees(given, directions, tolerance=2e-5, device=DEVICE, backend="triton")


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, 1e-3), large(torch.bfloat16, 6e-3)],  # the interpreter has no bf16 product
)
@pytest.mark.parametrize(
    ("shape", "num_states"),
    [((1, 3, 4, 5), 1), large((2, 14, 14, 192), 1), large((2, 14, 14, 96), 16)],
)
def test_16_bits(
    shape: tuple[int, int, int, int], num_states: int, dtype: torch.dtype, tolerance: float
) -> None:
    given = inputs(shape, 4, num_states, 6)
    assert_agrees(given, CROSS, dtype, tolerance, DEVICE, backend="triton")


def run(directions: list[tuple[int, bool]], **given: torch.Tensor) -> torch.Tensor:
    moved = {k: t.to(DEVICE, torch.float32) for k, t in given.items()}
    return ss2d(**moved, directions=directions, backend="triton")


def test_strided_inputs() -> None:
    given = inputs((2, 3, 3, 8), 2)
    wide = torch.cat((given["x"], given["x"] + 1), 3)
    want = run([H, V], **given)
    assert torch.equal(run([H, V], **(given | {"x": wide[..., :8]})), want)
    turned = given["x"].transpose(1, 2).contiguous().transpose(1, 2)  # no even rows
    assert torch.equal(run([H, V], **(given | {"x": turned})), want)


def test_nan_stays_where_it_belongs() -> None:
    """A NaN at a position of one image reaches what is read later there, and nothing else."""
    given = inputs((2, 3, 3, 4), 1)
    given["x"][0, 1, 1, 2] = float("nan")
    y = run([H], **given).isnan()
    want = torch.zeros_like(y)
    want.flatten(1, 2)[0, 4:, 2] = True
    assert torch.equal(y, want)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_stay_where_they_belong(value: float) -> None:
    """Along the rows of an image of 4 x 5: the ninth of a chunk's positions, and the third of the
    next one's."""
    for name, at in (("x", 8), ("dy", 18)):
        given = {k: t.to(DEVICE, torch.float32) for k, t in inputs((2, 4, 5, 3), 1).items()}
        dy = torch.ones_like(given["x"])
        (given["x"] if name == "x" else dy).flatten(1, 2)[0, at, 2] = value
        leaves = {k: t.requires_grad_() for k, t in given.items()}
        y = ss2d(**leaves, directions=[H], backend="triton")
        dx, d_dbc = torch.autograd.grad(y, [leaves["x"], leaves["dbc"]], dy)
        place = torch.arange(20)
        later, now, earlier = place >= at, place == at, place <= at
        of_dt, of_b, of_c = (later, now, later) if name == "x" else (earlier, earlier, now)
        found = ~d_dbc.flatten(1, 2)[0].isfinite().cpu().T  # three of dt, one of b, one of c
        assert torch.equal(found, torch.stack((of_dt, of_dt, of_dt, of_b, of_c))), (name, at)
        assert dx[1].isfinite().all()
        assert d_dbc[1].isfinite().all()
        assert dx[..., :2].isfinite().all()


@pytest.mark.parametrize(
    ("shape", "directions", "num_states", "rank"),
    [
        ((4, 3, 5, 33), [V, H_FLIP], 1, 2),  # four images a program
        ((2, 4, 4, 2), [H], 1, 1),  # two; what is read is not all even
        ((3, 1, 1, 2), [H], 1, 1),  # one: three are no multiple of two
        ((4, 2, 3, 2), [(2, True), H], 2, 2),
        ((2, 3, 6, 2), [V], 3, 2),  # states in groups
        large((64, 7, 7, 768), CROSS, 1, 24),
        large((8, 14, 9, 96), CROSS, 16, 6),
    ],
)
def test_several_images_a_program(
    shape: tuple[int, int, int, int],
    directions: list[tuple[int, bool]],
    num_states: int,
    rank: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hybridnas_kernels.ss2d import triton_launch

    monkeypatch.setattr(triton_launch, "ROUNDS", 0)
    given = inputs(shape, len(directions), num_states, rank)
    assert_agrees(given, directions, tolerance=2e-5, device=DEVICE, backend="triton")


def test_images_of_a_program_fill_the_gpu_and_fit_32_bits() -> None:
    from hybridnas_kernels.ss2d.triton_launch import _images

    assert [_images(128, programs, 10**6) for programs in (12, 82, 83, 164, 165)] == [1, 1, 2, 2, 4]
    assert [_images(batch, 10**6, 10**6) for batch in (0, 1, 2, 3, 4, 6)] == [1, 1, 2, 1, 4, 2]
    assert [_images(4, 10**6, furthest) for furthest in (2**29 - 1, 2**29, 2**30)] == [4, 2, 1]


def test_registers_are_few_where_that_saves_a_round() -> None:
    from hybridnas_kernels.ss2d.triton_launch import _registers

    assert [_registers(n, 2, True) for n in (1056, 1057, 1584, 1585)] == [None, 168, 168, None]
    assert [_registers(1536, unit, False) for unit in (1, 2)] == [168, None]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-5), large(torch.bfloat16, 6e-3)]
)
@pytest.mark.parametrize("rank", [3, 6])
def test_few_registers(
    rank: int, dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hybridnas_kernels.ss2d import triton_launch

    monkeypatch.setattr(triton_launch, "PLACES", 6)  # of 8 programs
    given = inputs((2, 4, 8, 64), 2, 1, rank)
    assert_agrees(given, [V, H_FLIP], dtype, tolerance, DEVICE, backend="triton")


@pytest.mark.parametrize("name", ["x", "dbc"])
def test_a_map_of_one_column_whose_stride_says_nothing(name: str) -> None:
    given = {k: t.to(DEVICE, torch.float32) for k, t in inputs((2, 5, 1, 4), 1).items()}
    across = given[name].transpose(1, 2)
    turned = torch.empty(across.shape, device=DEVICE).copy_(across).transpose(1, 2)
    assert turned.stride(2) > turned.stride(1)
    want = ss2d(**given, directions=[H], backend="torch")
    got = ss2d(**(given | {name: turned}), directions=[H], backend="triton")
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)


def test_large_steps_stay_finite() -> None:
    given = inputs((1, 3, 3, 4), 1)
    given["dt_bias"] *= 100
    assert_agrees(given, [H], tolerance=2e-5, device=DEVICE, backend="triton")


def test_opcheck() -> None:
    tensors = [t.to(DEVICE, torch.float32) for t in inputs((1, 3, 3, 4), 2).values()]
    orders = [0, 2], [False, True]
    torch.library.opcheck(torch.ops.hybridnas.ss2d, (*tensors, *orders, True))
    _, states = torch.ops.hybridnas.ss2d(*tensors, *orders, True)
    torch.library.opcheck(
        torch.ops.hybridnas.ss2d_backward, (torch.randn_like(tensors[0]), *tensors, states, *orders)
    )


def test_second_derivative_is_refused() -> None:
    given = {k: t.to(DEVICE, torch.float32) for k, t in inputs((1, 2, 2, 2), 1).items()}
    x = given["x"].requires_grad_()
    y = ss2d(**(given | {"x": x}), directions=[H], backend="triton")
    (grad,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.backward(grad.sum())


def test_flops_are_those_of_the_literature() -> None:
    given = inputs((2, 3, 3, 4), 2, num_states=2, rank=3)
    leaves = {k: t.to(DEVICE, torch.float32).requires_grad_() for k, t in given.items()}
    macs = 2 * 2 * 9 * 4 * (9 * 2 + 1 + 3)  # images, directions, positions, channels
    with FlopCounterMode(display=False) as counter:
        y = ss2d(**leaves, directions=[H, V], backend="triton")
    assert counter.get_total_flops() == 2 * macs
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(y.sum())
    assert counter.get_total_flops() == 4 * macs


@pytest.mark.gpu
@pytest.mark.skipif(not ON_GPU, reason="needs a CUDA device")
def test_compiles_and_captures() -> None:
    given = {k: t.to(DEVICE, torch.float32) for k, t in inputs((2, 7, 7, 64)).items()}
    leaves = {k: t.requires_grad_() for k, t in given.items()}

    def gradient() -> torch.Tensor:
        y = ss2d(**leaves, directions=CROSS, backend="triton")
        return torch.autograd.grad(y.square().sum(), leaves["x"])[0]

    want = gradient()
    assert torch.equal(gradient(), want)  # the same twice
    compiled = torch.compile(lambda **g: ss2d(**g, directions=CROSS), fullgraph=True)
    y = compiled(**leaves)
    torch.testing.assert_close(torch.autograd.grad(y.square().sum(), leaves["x"])[0], want)
    del y  # whose graph holds the leaves' gradients to the stream that cannot be captured
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        gradient()
    with torch.cuda.graph(graph, stream=stream):
        got = gradient()
    graph.replay()
    assert torch.equal(got, want)
