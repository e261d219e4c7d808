"""ss2d where dt, b and c lie at odd elements of dbc, so that its backward reads a copy of it."""

from __future__ import annotations

import pytest
import torch
from ss2d_oracle import (
    CROSS,
    H_FLIP,
    H,
    Inputs,
    V,
    assert_agrees,
    inputs,
    output_and_gradients,
)
from test_ss2d_triton import DEVICE, large, poisoned_empty  # noqa: F401

from hybridnas_kernels import ss2d

BF16 = torch.bfloat16  # the interpreter has no product of it


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float16, 1e-3), large(BF16, 6e-3)]
)
@pytest.mark.parametrize(
    ("shape", "directions", "rank"),
    [
        ((1, 4, 8, 32), [V], 1),  # two chunks of positions and a warp, filled exactly
        ((3, 3, 5, 33), [H_FLIP, (2, True)], 3),  # past the map; one channel more than a warp
        ((1, 17, 1, 2), [H, V], 5),  # one position more than a chunk
        ((1, 1, 1, 2), [H], 3),
        ((1, 3, 3, 2), [(7, True), H], 17),  # a rank of two tiles
        large((1, 28, 28, 96), CROSS, 3),
        large((3, 9, 14, 70), [(7, False), (2, True), V], 5),
        large((4, 14, 14, 32), CROSS, 1),
        large((2, 7, 7, 544), CROSS, 17),
    ],
)
def test_agrees(
    shape: tuple[int, int, int, int],
    directions: list[tuple[int, bool]],
    rank: int,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    given = inputs(shape, len(directions), 1, rank)
    assert_agrees(given, directions, dtype, tolerance, DEVICE, backend="triton")


@pytest.mark.parametrize(("before", "rank"), [(1, 2), (2, 3), large(1, 3), large(2, 2)])
def test_a_slice_of_dbc_is_read_like_a_copy(rank: int, before: int) -> None:
    """The slice begins at an odd or even element of rows of an odd number of them."""
    given = on_device(inputs((2, 3, 6, 5), 2, 1, rank), torch.float16)
    width = given["dbc"].shape[3]
    wide = torch.full((2, 3, 6, width + 3), float("nan"), dtype=torch.float16, device=DEVICE)
    wide[..., before : before + width] = given["dbc"]
    leaves = {name: t.requires_grad_() for name, t in given.items()}
    sliced = leaves | {"dbc": wide[..., before : before + width].requires_grad_()}
    found = []
    for one in (leaves, sliced):
        y = ss2d(**one, directions=[V, H_FLIP], backend="triton")
        found.append([y, *torch.autograd.grad(y.float().sum(), list(one.values()))])
    assert not sliced["dbc"].is_contiguous()
    for want, got in zip(*found, strict=True):  # the forward is compiled anew for odd strides
        torch.testing.assert_close(got, want, atol=1e-3, rtol=2e-3)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("number", [2, 3, 4])
def test_what_is_not_finite_stays_where_it_belongs(number: int, dtype: torch.dtype) -> None:
    """A NaN among dt, as b or as c of the last of three images reaches what the definition says."""
    given = on_device(inputs((3, 4, 5, 3), 1), dtype)
    given["dbc"].flatten(1, 2)[2, 7, number] = float("nan")
    got, want = (
        output_and_gradients(lambda b=backend, **g: ss2d(**g, directions=[H], backend=b), given)
        for backend in ("triton", "torch")
    )
    for name in ("y", "d_x", "d_dbc"):
        assert torch.equal(got[name].isfinite(), want[name].isfinite()), name
        assert got[name][:2].isfinite().all()


def on_device(given: Inputs, dtype: torch.dtype) -> Inputs:
    return {
        k: t.to(DEVICE, dtype if k in ("x", "dbc") else torch.float32) for k, t in given.items()
    }
