"""What the tests of ss2d compare with: its definition, position by position, in float64.

Directions are walked with loops over rows, columns and windows, so that nothing is shared with
the tables of positions that the operator reads by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridnas_kernels import ss2d

Inputs = dict[str, Tensor]
H, V, H_FLIP, V_FLIP = (0, False), (-1, False), (0, True), (-1, True)
CROSS = [H, V, H_FLIP, V_FLIP]


def walk(window: int, flip: bool, height: int, width: int) -> list[tuple[int, int]]:
    """(row, column) in order; beside the map where windows reach past it."""

    def forwards() -> Iterator[tuple[int, int]]:
        if window == 0:
            yield from ((i, j) for i in range(height) for j in range(width))
        elif window == -1:
            yield from ((i, j) for j in range(width) for i in range(height))
        else:
            for top in range(0, height, window):
                for left in range(0, width, window):
                    for i in range(top, top + window):
                        yield from ((i, j) for j in range(left, left + window))

    places = list(forwards())
    return places[::-1] if flip else places


def oracle(directions: list[tuple[int, bool]], **given: Tensor) -> Tensor:
    x, dbc, weight, A = (given[name] for name in ("x", "dbc", "dt_weight", "A"))
    batch, height, width, channels = x.shape
    rank, num_states = weight.shape[2], A.shape[2]
    parts = dbc.unflatten(3, (len(directions), -1))
    y: dict[tuple[int, int], Tensor] = {}
    for k, (window, flip) in enumerate(directions):
        h = x.new_zeros(batch, channels, num_states)
        for i, j in walk(window, flip, height, width):
            on_map = i < height and j < width
            now = parts[:, i, j, k] if on_map else torch.zeros_like(parts[:, 0, 0, k])
            token = x[:, i, j] if on_map else torch.zeros_like(x[:, 0, 0])
            dt, b, c = now.split([rank, num_states, num_states], dim=1)
            delta = F.softplus(dt @ weight[k].T + given["dt_bias"][k])  # (batch, channels)
            h = torch.exp(delta[..., None] * A[k]) * h + (delta * token)[..., None] * b[:, None]
            if on_map:
                out = (h * c[:, None]).sum(-1) + given["D"][k] * token
                y[i, j] = y[i, j] + out if (i, j) in y else out
    rows = [torch.stack([y[i, j] for j in range(width)], 1) for i in range(height)]
    return torch.stack(rows, 1)


def inputs(
    shape: tuple[int, int, int, int], num_directions: int = 4, num_states: int = 1, rank: int = 3
) -> Inputs:
    """Every argument in float64; with decays from fast to slow."""
    rng = torch.Generator().manual_seed(0)
    normal = partial(torch.randn, generator=rng, dtype=torch.float64)
    K, C = num_directions, shape[3]
    return {
        "x": normal(shape),
        "dbc": normal(*shape[:3], K * (rank + 2 * num_states)),
        "dt_weight": normal(K, C, rank) / rank**0.5,
        "A": -normal(K, C, num_states).abs() - 0.05,
        "D": normal(K, C),
        "dt_bias": normal(K, C) - 1,
    }


def output_and_gradients(run: Callable[..., Tensor], given: Inputs) -> Inputs:
    """The output, and the gradients of a fixed weighted sum of it."""
    leaves = {k: t.detach().clone().requires_grad_() for k, t in given.items()}
    out = run(**leaves)
    rng = torch.Generator().manual_seed(1)
    weight = torch.randn(out.shape, generator=rng, dtype=torch.float64).to(out.device)
    grads = torch.autograd.grad((out.double() * weight).sum(), list(leaves.values()))
    return {"y": out} | {f"d_{k}": g for k, g in zip(leaves, grads, strict=True)}


def assert_agrees(
    given: Inputs,
    directions: list[tuple[int, bool]],
    dtype: torch.dtype = torch.float32,
    tolerance: float = 1e-5,
    device: str = "cpu",
    backend: str | None = None,
) -> None:
    """ss2d with x and dbc in `dtype` agrees with the oracle on the same (rounded) numbers.

    Norm-wise, |got - want| / |want|, for the output and every gradient.
    """
    types = {
        k: dtype if k in ("x", "dbc") else torch.promote_types(dtype, torch.float32) for k in given
    }
    rounded = {k: t.to(device, types[k]) for k, t in given.items()}
    rounded["dt_weight"] = rounded["dt_weight"].to(dtype).to(types["dt_weight"])
    want = output_and_gradients(
        partial(oracle, directions), {k: t.double() for k, t in rounded.items()}
    )
    got = output_and_gradients(partial(ss2d, directions=directions, backend=backend), rounded)
    # A zero gradient (of A, where the sequence has one position) must be zero here too.
    errors = {
        k: ((got[k].double() - want[k]).norm() / want[k].norm().clamp_min(1e-30)).item()
        for k in want
    }
    wrong = {k: e for k, e in errors.items() if not e <= tolerance}
    assert not wrong, f"relative errors above {tolerance}: {wrong}"
    assert {k: t.dtype for k, t in got.items() if k != "y"} == {
        f"d_{k}": t.dtype for k, t in rounded.items()
    }
    assert got["y"].dtype == dtype
