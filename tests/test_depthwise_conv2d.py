"""The depthwise convolution in PyTorch, and what its door refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from depthwise_oracle import assert_agrees, inputs
from torch import Tensor

from hybridnas_kernels import depthwise_conv2d

conv: Callable[..., Tensor] = depthwise_conv2d


@pytest.mark.parametrize("k", [3, 5, 7, 13])
@pytest.mark.parametrize("shape", [(2, 7, 7, 6), (1, 1, 1, 1), (3, 4, 11, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_agrees_with_definition(k: int, shape: tuple[int, int, int, int], bias: bool) -> None:
    assert_agrees(conv, inputs(shape, k, bias=bias), torch.float64, 1e-13)


def test_layout_of_the_input_does_not_matter() -> None:
    given = inputs((2, 5, 6, 4), 3)
    x = given["x"]
    want = conv(x, given["weight"])
    wide = torch.cat([torch.full_like(x, float("nan")), x], dim=-1)
    for other in (wide[..., 4:], x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)):
        assert not other.is_contiguous()
        got = conv(other, given["weight"])
        assert got.is_contiguous()
        torch.testing.assert_close(got, want)


def test_autocast_casts_as_it_does_for_conv2d() -> None:
    given = {k: v.float() for k, v in inputs((1, 4, 4, 3), 3).items() if k != "dy"}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = conv(**given)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, conv(**{k: v.bfloat16() for k, v in given.items()}))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", (4, 4, 3), r"x must be \(B, H, W, C\), got \(4, 4, 3\)"),
        ("weight", (4, 1, 3, 3), r"weight must be .* C = 3 .* got \(4, 1, 3, 3\)"),
        ("weight", (3, 1, 3, 5), r"got \(3, 1, 3, 5\)"),
        ("weight", (3, 1, 4, 4), r"k one of 3, 5, 7, 9, 11, 13; got \(3, 1, 4, 4\)"),
        ("weight", (3, 1, 15, 15), r"got \(3, 1, 15, 15\)"),
        ("weight", (3, 3, 3, 3), r"got \(3, 3, 3, 3\)"),
        ("bias", (4,), r"bias must be \(C,\) = \(3,\), got \(4,\)"),
    ],
)
def test_wrong_shapes_are_explained(name: str, shape: tuple[int, ...], message: str) -> None:
    given = {k: v for k, v in inputs((1, 4, 4, 3), 3).items() if k != "dy"}
    with pytest.raises(ValueError, match=message):
        conv(**(given | {name: torch.rand(shape)}))


def test_mixed_types_are_explained() -> None:
    given = inputs((1, 4, 4, 3), 3)
    with pytest.raises(ValueError, match=r"weight must be torch\.float64 on cpu .* torch\.float32"):
        conv(given["x"], given["weight"].float())


def test_a_forced_backend_never_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    given = inputs((1, 4, 4, 3), 3)
    with pytest.raises(RuntimeError, match="triton was forced, but"):
        conv(given["x"], given["weight"], backend="triton")
    with pytest.raises(ValueError, match="backend must be one of auto, triton, torch"):
        conv(given["x"], given["weight"], backend="mamba")


def test_an_exported_graph_holds_only_torch_operators() -> None:
    class Conv(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor) -> Tensor:
            return conv(x, weight)

    given = {k: inputs((1, 4, 4, 3), 3)[k].float() for k in ("x", "weight")}
    program = torch.export.export(Conv(), tuple(given.values()))
    assert "hybridnas" not in str(program.graph)
    torch.testing.assert_close(program.module()(*given.values()), conv(**given))
