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

triton = pytest.importorskip("triton")
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


def train(widths: Sequence[int], depths: Sequence[int], block: Any, image: int) -> None:
    """One step of a network with these stages."""
    stages = [
        {"width": width, "blocks": [block] * depth}
        for width, depth in zip(widths, depths, strict=True)
    ]
    raw = {"stem": "patch", "stages": stages, "head": "linear"}
    model = build(Architecture.from_dict(raw), num_classes=5, drop_path_rate=0.1).cuda().train()
    with torch.autocast("cuda", torch.bfloat16):
        logits = model(torch.rand(16, 3, image, image, device="cuda"))
    nn.functional.cross_entropy(logits, torch.arange(16, device="cuda") % 5).backward()
    torch.cuda.synchronize()


@pytest.mark.parametrize("block", [GATED, SSM], ids=["gated", "ssm"])
def test_another_architecture_compiles_nothing(block: Any, compiled: list[str]) -> None:
    """Widths of one class: their powers of two are the same, and all are multiples of 16."""
    train((96, 192), (1, 1), block, 64)
    del compiled[:]
    train((80, 176), (3, 2), block, 96)
    train((112, 160), (2, 4), block, 128)
    assert compiled == []
