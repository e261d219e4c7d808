"""What one architecture compiled serves the next: a new one of the same shape classes compiles
nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

from hybridnas import build
from hybridnas.architecture import Architecture

pytest.importorskip("triton")
import triton
import triton.language as tl

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GATED = {"form": "gated", "mixer": {"name": "gated_conv", "kernel": 7}}
SSM = {
    "form": {"name": "metaformer", "expansion": 1, "mlp_ratio": 1},
    "mixer": {"name": "ssm", "d_state": 1, "directions": "h v h_flip v_flip"},
}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by the name of each kernel that Triton makes ready, be it from its cache on disk."""
    names: list[str] = []
    monkeypatch.setattr(
        triton.knobs.runtime, "jit_post_compile_hook", lambda **made: names.append(made["fn"].name)
    )
    return names


@triton.jit
def _one(x):  # type: ignore[no-untyped-def]
    tl.store(x, 1.0)


def test_compilations_are_seen(compiled: list[str]) -> None:
    for _ in range(2):
        _one[(1,)](torch.empty(1, device="cuda"))
    assert compiled == ["_one"]


def train(widths: Sequence[int], depths: Sequence[int], block: Any) -> None:
    """One step of a network with these stages."""
    stages = [
        {"width": width, "blocks": [block] * depth}
        for width, depth in zip(widths, depths, strict=True)
    ]
    raw = {"stem": "patch", "stages": stages, "head": "linear"}
    model = build(Architecture.from_dict(raw), num_classes=5, drop_path_rate=0.1).cuda().train()
    with torch.autocast("cuda", torch.bfloat16):
        logits = model(torch.rand(16, 3, 64, 64, device="cuda"))
    nn.functional.cross_entropy(logits, torch.arange(16, device="cuda") % 5).backward()
    torch.cuda.synchronize()


# Of one class are widths whose next powers of two, and those of the inner widths, are the same: of
# the Gated CNN multiples of 32, and the other multiples of 16, of the scan multiples of 32. A
# block's input is of another type where it is a stage's first.
@pytest.mark.parametrize(
    ("block", "first", "second", "third"),
    [
        (GATED, (96, 192), (128, 160), (96, 160)),
        (GATED, (80, 176), (112, 144), (80, 144)),
        (SSM, (96, 192), (128, 160), (96, 224)),
    ],
    ids=["gated", "gated-16", "ssm"],
)
def test_another_architecture_compiles_nothing(
    block: Any,
    first: Sequence[int],
    second: Sequence[int],
    third: Sequence[int],
    compiled: list[str],
) -> None:
    train(first, (2, 2), block)
    del compiled[:]
    train(second, (3, 2), block)
    train(third, (2, 4), block)
    assert compiled == []
