"""The Gated CNN block's door and reference: against timm's, written apart from it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from gated_oracle import arguments, assert_close, call, results
from timm.models.mambaout import GatedConvBlock
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hybridnas_kernels import gated_conv_block


def timm_block(
    x: Tensor, norm_weight: Tensor, norm_bias: Tensor, eps: float, *rest: Tensor
) -> Tensor:
    """timm's module run on the same parameters; the share of mixed channels is one it can have."""
    width, hidden = rest[4].shape
    block = GatedConvBlock(
        width,
        expansion_ratio=hidden / width,
        kernel_size=rest[2].shape[-1],
        conv_ratio=rest[2].shape[0] / width,
        norm_layer=partial(torch.nn.LayerNorm, eps=eps),  # type: ignore[arg-type]
    ).to(x.dtype)
    names = [
        f"{part}.{kind}" for part in ("norm", "fc1", "conv", "fc2") for kind in ("weight", "bias")
    ]
    parameters = dict(zip(names, (norm_weight, norm_bias, *rest), strict=True))
    found: Tensor = torch.func.functional_call(block, parameters, (x,))
    return found


@pytest.mark.parametrize(
    ("width", "hidden", "mixed", "kernel"), [(6, 16, 6, 7), (8, 16, 4, 3), (4, 4, 4, 1)]
)
def test_is_timms_block(width: int, hidden: int, mixed: int, kernel: int) -> None:
    given = arguments((2, 5, 4), width, hidden, mixed, (kernel, kernel))
    got = results(gated_conv_block, given, torch.float64)
    assert_close(got, results(timm_block, given, torch.float64), 1e-12)


def test_branch_scale_is_a_factor_of_each_images_branch() -> None:
    given = arguments((3, 4, 4), 6, 16, 6)
    factors = torch.tensor([0.0, 1.25, 1.0], dtype=torch.float64)
    plain = call(gated_conv_block, given) - given[0]
    scaled = call(gated_conv_block, given, branch_scale=factors) - given[0]
    torch.testing.assert_close(scaled, plain * factors[:, None, None, None])


def test_layer_scale_is_a_factor_of_the_branchs_channels_and_learns() -> None:
    given = arguments((1, 4, 4), 6, 16, 6)
    factors = torch.linspace(-1, 2, 6, dtype=torch.float64).requires_grad_()
    plain = call(gated_conv_block, given) - given[0]
    scaled = call(gated_conv_block, given, layer_scale=factors) - given[0]
    torch.testing.assert_close(scaled, plain * factors)
    scaled.sum().backward()
    assert factors.grad is not None
    torch.testing.assert_close(factors.grad, plain.sum((0, 1, 2)))


def test_no_convolution_bias_is_a_bias_of_zero() -> None:
    given = arguments((1, 4, 4), 6, 16, 6)
    without = (*given[:6], None, *given[7:])
    with_zeros = (*given[:6], torch.zeros_like(given[6]), *given[7:])
    assert torch.equal(
        call(gated_conv_block, without), call(gated_conv_block, with_zeros)  # type: ignore[arg-type]
    )  # fmt: skip


def test_autocast_keeps_the_dtype_of_x() -> None:
    given = tuple(t.float() for t in arguments((2, 4, 4), 16, 40, 16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = call(gated_conv_block, given)
    assert got.dtype == torch.float32
    want = call(gated_conv_block, given)
    assert 1e-5 < (got - want).norm() / want.norm() < 1e-2


def test_flops_are_those_of_the_reference() -> None:
    """By formula in Triton, by torch's count of its own operators in PyTorch: for the forward, as
    that count takes the gradient of a grouped convolution's weight for a dense one's."""
    from hybridnas_kernels.gated_conv_block.op import _backward_flops, _flops

    given = arguments((2, 5, 4), 6, 16, 4)
    with FlopCounterMode(display=False) as counter:
        call(gated_conv_block, given)
    shapes = [tuple(t.shape) for t in given]
    forward = _flops(*shapes)
    assert counter.get_total_flops() == forward
    assert _backward_flops(shapes[0], *[None] * 5, *shapes[1:]) == 2 * forward


@pytest.mark.parametrize(
    ("index", "shape", "message"),
    [
        (0, (4, 4, 6), r"x must be \(B, H, W, width\), none of them 0, got \(4, 4, 6\)"),
        (0, (0, 4, 4, 6), r"x must be .* got \(0, 4, 4, 6\)"),
        (1, (5,), r"norm_weight must be \(width,\) = \(6,\), got \(5,\)"),
        (2, (6, 1), r"norm_bias must be \(width,\) = \(6,\), got \(6, 1\)"),
        (3, (16, 6), r"in_weight must be \(2 hidden, width\) = \(32, 6\), got \(16, 6\)"),
        (4, (16,), r"in_bias must be \(2 hidden,\) = \(32,\), got \(16,\)"),
        (5, (4, 1, 3, 4), r"conv_weight must be .* odd kh and kw, got \(4, 1, 3, 4\)"),
        (5, (17, 1, 3, 3), r"conv_weight must have 1 to hidden = 16 channels, got 17"),
        (6, (5,), r"conv_bias must be \(mixed,\) = \(4,\), got \(5,\)"),
        (7, (16,), r"out_weight must be \(width, hidden\), got \(16,\)"),
        (7, (5, 16), r"out_weight must be \(width, hidden\) = \(6, 16\), got \(5, 16\)"),
        (8, (16,), r"out_bias must be \(width,\) = \(6,\), got \(16,\)"),
    ],
)
def test_wrong_shapes_are_explained(index: int, shape: tuple[int, ...], message: str) -> None:
    given = list(arguments((2, 4, 4), 6, 16, 4))
    given[index] = torch.rand(shape, dtype=torch.float64)
    with pytest.raises(ValueError, match=message):
        call(gated_conv_block, tuple(given))


@pytest.mark.parametrize("name", ["branch_scale", "layer_scale"])
def test_wrong_scales_are_explained(name: str) -> None:
    given = arguments((2, 4, 4), 6, 16, 4)
    with pytest.raises(ValueError, match=rf"{name} must be .*, got \(5,\)"):
        call(gated_conv_block, given, **{name: torch.ones(5)})


def test_other_than_real_numbers_are_refused() -> None:
    given = list(arguments((2, 4, 4), 6, 16, 4))
    given[4] = given[4].long()
    with pytest.raises(ValueError, match=r"in_bias must hold real .* got torch.int64"):
        call(gated_conv_block, tuple(given))


def test_a_forced_backend_that_cannot_run_is_refused() -> None:
    given = arguments((1, 2, 2), 6, 16, 4)
    with pytest.raises(RuntimeError, match="gated_conv_block: the backend triton was forced"):
        call(gated_conv_block, given, backend="triton")
    with pytest.raises(ValueError, match="backend must be one of auto, triton, torch"):
        call(gated_conv_block, given, backend="cuda")


def test_gradients_can_be_taken_twice_from_one_graph() -> None:
    leaves = tuple(t.requires_grad_() for t in arguments((1, 3, 3), 6, 16, 4))
    total = call(gated_conv_block, leaves).sum()
    first = torch.autograd.grad(total, leaves, retain_graph=True)
    second = torch.autograd.grad(total, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
