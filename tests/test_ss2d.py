"""ss2d's reference against its definition, and the door: what it refuses, traces and casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from ss2d_oracle import CROSS, V_FLIP, H, V, assert_agrees, inputs, oracle, walk
from torch import Tensor

from hybridnas_kernels import ss2d
from hybridnas_kernels.ss2d.orders import positions

run: Callable[..., Tensor] = partial(ss2d, backend="torch")
anyhow: Callable[..., Tensor] = ss2d


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("window", [0, -1, 1, 2, 3, 7, 9])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 6), (5, 3), (7, 7)])
def test_positions_are_those_of_a_walk(height: int, width: int, window: int, flip: bool) -> None:
    beside = height * width
    want = [
        i * width + j if i < height and j < width else beside
        for i, j in walk(window, flip, height, width)
    ]
    assert positions(window, flip, height, width, torch.device("cpu")).tolist() == want


@pytest.mark.parametrize("num_states", [1, 4])
@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize(
    "directions", [[H], CROSS, [(2, False), V], [(2, True), (3, False), V_FLIP]]
)
@pytest.mark.parametrize("shape", [(2, 5, 4, 6), (1, 1, 1, 3), (3, 1, 4, 1)])
def test_reference_agrees(
    shape: tuple[int, int, int, int],
    directions: list[tuple[int, bool]],
    rank: int,
    num_states: int,
) -> None:
    given = inputs(shape, len(directions), num_states, rank)
    assert_agrees(given, directions, backend="torch")
    assert_agrees(given, directions, torch.float64, 1e-13, backend="torch")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 8e-3)])
def test_16_bits_lose_only_the_rounding_of_results(dtype: torch.dtype, tolerance: float) -> None:
    assert_agrees(inputs((2, 6, 5, 8), rank=6), CROSS, dtype, tolerance, backend="torch")


def test_state_decays_where_windows_reach_past_the_map() -> None:
    """On a map of one column, windows of two read a column of nothing: y depends on it."""
    given = inputs((1, 4, 1, 2), 1)
    plain, padded = (run(**given, directions=[(window, False)]) for window in (0, 2))
    torch.testing.assert_close(padded[:, 0], plain[:, 0])  # nothing was read before the first
    assert not torch.allclose(padded[:, 1:], plain[:, 1:])
    torch.testing.assert_close(padded, oracle([(2, False)], **given))


def test_a_strided_slice_is_read_like_a_copy() -> None:
    given = {k: t.float() for k, t in inputs((2, 4, 5, 8)).items()}
    wide = torch.cat((given["x"], given["x"] + 1), 3)
    assert torch.equal(
        run(**(given | {"x": wide[..., :8]}), directions=CROSS), run(**given, directions=CROSS)
    )


def test_autocast_lowers_the_projection_alone() -> None:
    given = {k: t.float() for k, t in inputs((2, 4, 5, 8)).items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = run(**given, directions=CROSS)
    assert got.dtype == torch.float32
    want = run(**(given | {"dbc": given["dbc"].bfloat16()}), directions=CROSS)
    assert torch.equal(got, want)


class Scan(torch.nn.Module):
    def forward(self, *given: Tensor) -> Tensor:
        return anyhow(*given, directions=[H, (2, True)])


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # sizes become constants
def test_traces_hold_plain_operators() -> None:
    given = tuple(t.float() for t in inputs((2, 5, 3, 4), 2).values())
    want = Scan()(*given)
    exported = torch.export.export(Scan(), given, strict=False)
    assert not any("hybridnas" in str(node.target) for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(*given), want)
    traced = torch.jit.trace(Scan(), given)
    torch.testing.assert_close(traced(*given), want)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": torch.ones(2, 3, 4)}, r"x must be \(B, H, W, C\)"),
        ({"x": torch.ones(1, 2, 2, 3).long()}, "x must hold real floating-point numbers"),
        ({"x": torch.ones(1, 0, 2, 3)}, "with H, W, C >= 1"),
        ({"dbc": torch.ones(1, 2, 2, 19)}, r"dbc must be \(B, H, W, K \(R \+ 2 N\)\)"),
        ({"dt_weight": torch.ones(4, 2, 3)}, r"dt_weight must be \(K, C, R\) with K = 4, C = 3"),
        ({"A": torch.ones(4, 3)}, r"A must be \(K, C, N\)"),
        ({"D": torch.ones(3)}, r"D must be \(K, C\) = \(4, 3\)"),
        ({"dt_bias": torch.ones(4, 4)}, r"dt_bias must be \(K, C\) = \(4, 3\)"),
        ({"directions": []}, "at least one direction"),
        ({"directions": [(-2, False)] * 4}, "got -2"),
        ({"backend": "mamba"}, "backend must be one of"),
    ],
)
def test_refuses_what_does_not_fit(changed: dict[str, object], message: str) -> None:
    given = {k: t.float() for k, t in inputs((1, 2, 2, 3)).items()}
    with pytest.raises(ValueError, match=message):
        anyhow(**({**given, "directions": CROSS} | changed))
