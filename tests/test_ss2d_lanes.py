"""ss2d's sums over the lanes of a warp, on the CPU."""

from __future__ import annotations

import pytest
import torch
from ss2d_oracle import CROSS, H_FLIP, V_FLIP, H, V, assert_agrees, inputs
from test_ss2d_odd_ranks import test_what_is_not_finite_stays_where_it_belongs  # noqa: F401
from test_ss2d_triton import test_gradients_that_are_not_finite_stay_where_they_belong  # noqa: F401
from warp_lanes import ON_THE_CPU, give_lanes

pytest.importorskip("triton")
pytestmark = ON_THE_CPU


@pytest.fixture
def _lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    from hybridnas_kernels.ss2d import triton_backward, triton_launch

    give_lanes(monkeypatch, triton_backward)
    monkeypatch.setattr(triton_launch, "_in_lanes", lambda states: states == 1)


@pytest.mark.parametrize(
    ("shape", "directions", "rank"),
    [
        ((1, 4, 4, 3), [V], 2),  # a chunk of positions, filled exactly
        ((2, 3, 5, 33), [H_FLIP], 2),  # one position less, one channel more than a warp
        ((1, 17, 1, 31), [H, V_FLIP], 4),  # one position more
        ((1, 1, 1, 1), [H], 2),
        ((2, 4, 8, 32), [V, H_FLIP], 3),  # two chunks and a warp, filled exactly; an odd rank
        ((1, 3, 3, 32), [(2, False), (2, True)], 2),  # windows past the map
    ],
)
def test_agrees(
    shape: tuple[int, int, int, int], directions: list[tuple[int, bool]], rank: int
) -> None:
    given = inputs(shape, len(directions), 1, rank)
    assert_agrees(given, directions, tolerance=2e-5, device="cpu", backend="triton")


@pytest.mark.parametrize("batch", [2, 4])
def test_several_images_a_program(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from hybridnas_kernels.ss2d import triton_launch

    monkeypatch.setattr(triton_launch, "ROUNDS", 0)
    given = inputs((batch, 3, 6, 3), 2, 1, batch)
    assert_agrees(given, [V, H_FLIP], tolerance=2e-5, device="cpu", backend="triton")


def test_16_bits() -> None:
    given = inputs((1, 3, 4, 5), 4, 1, 6)
    assert_agrees(given, CROSS, torch.float16, 1e-3, "cpu", backend="triton")
