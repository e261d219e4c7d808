"""Depthwise convolution by its definition, one tap after the other: the oracle of its tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Inputs = dict[str, Tensor]


def oracle(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, H, W, C): shifted copies of the padded map, weighted and added."""
    _, H, W, C = x.shape
    k = weight.shape[-1]
    padded = F.pad(x, (0, 0, k // 2, k // 2, k // 2, k // 2))
    y = torch.zeros_like(x) if bias is None else bias.expand_as(x)
    for p in range(k):
        for q in range(k):
            y = y + padded[:, p : p + H, q : q + W] * weight[:, 0, p, q]
    assert y.shape[-1] == C
    return y


def inputs(
    shape: tuple[int, int, int, int], k: int, device: str = "cpu", bias: bool = True
) -> Inputs:
    """x, weight, bias if asked, and dy, the derivative of a loss by y; float64."""
    rng = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"x": shape, "weight": (shape[-1], 1, k, k), "dy": shape}
    if bias:
        shapes["bias"] = shape[-1:]
    return {
        name: torch.randn(size, generator=rng, dtype=torch.float64).to(device)
        for name, size in shapes.items()
    }


def results(conv: Callable[..., Tensor], given: Inputs) -> Inputs:
    """The output and the gradient of every tensor that went in."""
    leaves = {k: v.detach().requires_grad_() for k, v in given.items() if k != "dy"}
    y = conv(**leaves)
    gradients = torch.autograd.grad(y, list(leaves.values()), given["dy"])
    return {"y": y.detach()} | {f"d{k}": g for k, g in zip(leaves, gradients, strict=True)}


def assert_agrees(
    conv: Callable[..., Tensor], given: Inputs, dtype: torch.dtype, tolerance: float
) -> None:
    """conv in `dtype` agrees with the oracle on the same (rounded) numbers in float64.

    Agreement is norm-wise: |got - want| / |want|, Euclidean norms over the whole tensor.
    """
    rounded = {k: v.to(dtype) for k, v in given.items()}
    got = results(conv, rounded)
    want = results(oracle, {k: v.double() for k, v in rounded.items()})
    errors = {k: ((got[k].double() - want[k]).norm() / want[k].norm()).item() for k in want}
    wrong = {k: e for k, e in errors.items() if not e <= tolerance}
    assert not wrong, f"relative errors above {tolerance}: {wrong}"
    assert all(v.dtype == dtype for v in got.values())
    assert got["y"].is_contiguous()
