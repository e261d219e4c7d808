"""Arguments of the Gated CNN block, and how its output and gradients are compared."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Block = Callable[..., Tensor]  # (x, eight parameters, eps=, branch_scale=, layer_scale=)
NAMES = (
    "out", "x", "norm_weight", "norm_bias", "in_weight", "in_bias", "conv_weight", "conv_bias",
    "out_weight", "out_bias",
)  # fmt: skip
EPS = 1e-6


def arguments(
    size: tuple[int, int, int],
    width: int,
    hidden: int,
    mixed: int,
    kernel: tuple[int, int] = (3, 3),
) -> tuple[Tensor, ...]:
    """x (B, H, W, width) with its mean off zero, then the eight parameters, float64 on the CPU."""
    rng = torch.Generator().manual_seed(0)
    normal = partial(torch.randn, generator=rng, dtype=torch.float64)
    return (
        normal(*size, width) + 0.5,
        1 + normal(width) / 4,
        normal(width) / 4,
        normal(2 * hidden, width) / width**0.5,
        normal(2 * hidden) / 4,
        normal(mixed, 1, *kernel) / (kernel[0] * kernel[1]) ** 0.5,
        normal(mixed) / 4,
        normal(width, hidden) / hidden**0.5,
        normal(width) / 4,
    )


def call(block: Block, given: tuple[Tensor, ...], **options: Tensor | str | None) -> Tensor:
    x, norm_weight, norm_bias, *rest = given
    return block(x, norm_weight, norm_bias, EPS, *rest, **options)


def results(
    block: Block, given: tuple[Tensor, ...], dtype: torch.dtype, device: str = "cpu",
    **options: Tensor | str | None,
) -> dict[str, Tensor]:  # fmt: skip
    """The output, and the gradients of a fixed weighted sum of it, by NAMES."""
    leaves = tuple(t.detach().to(device, dtype).requires_grad_() for t in given)
    out = call(block, leaves, **options)
    weights = torch.randn(
        out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    gradients = torch.autograd.grad(out, leaves, weights.to(device, out.dtype))
    return dict(zip(NAMES, (out.detach(), *gradients), strict=True))


def assert_close(got: dict[str, Tensor], want: dict[str, Tensor], tolerance: float) -> None:
    """|got - want| <= tolerance |want| for every tensor, in Euclidean norms. NaN never passes."""
    for name in want:
        reference = want[name].cpu().double()
        assert got[name].shape == reference.shape, name
        error = (got[name].cpu().double() - reference).norm() / reference.norm()
        assert error <= tolerance, f"{name}: relative error {error:.2e} > {tolerance:.0e}"
