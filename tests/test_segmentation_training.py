"""A training of segmentation that learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mask_sets import write_set
from test_segmentation import SMALL, protocol

from hybridnas.errors import ConfigError
from hybridnas.evaluate import evaluate
from hybridnas.reference import reference
from hybridnas.tasks.confusion import Confusion


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """UperNet with few channels: 512 are slow on a CPU."""
    from hybridnas.heads import UPerNet

    monkeypatch.setattr(
        "hybridnas.tasks.segmentation.UPerNet",
        lambda backbone, num: UPerNet(backbone, num, width=32, aux_width=16),
    )


@pytest.mark.usefixtures("narrow")
def test_shapes_are_learned(tmp_path: Path) -> None:
    root = write_set(tmp_path / "set", training=16, validation=4)
    untrained = evaluate(SMALL, protocol(root, epochs=1, lr=1e-12, min_lr=0.0), device="cpu")
    outcome = evaluate(SMALL, protocol(root, epochs=10, lr=5e-3), device="cpu")
    assert outcome.status == "ok", outcome.message
    assert outcome.curve[-1]["loss"] < 0.5 * outcome.curve[0]["loss"]
    assert outcome.metrics["miou"] > 0.7
    assert untrained.metrics["miou"] < 0.4
    assert outcome.metrics.keys() == {
        "miou", "aacc", "macc", "loss", "num_images", "num_corrupt", "num_corrupt_train", "params",
    }  # fmt: skip
    again = evaluate(SMALL, protocol(root, epochs=10, lr=5e-3), device="cpu")
    assert again.metrics == outcome.metrics
    assert again.curve[-1]["loss"] == outcome.curve[-1]["loss"]
    assert outcome.metrics["num_images"] == 4


def test_one_stage_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs a pyramid of maps"):
        evaluate(reference("vim_tiny"), protocol(write_set(tmp_path / "set")), device="cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("narrow")
def test_on_a_gpu(tmp_path: Path) -> None:
    root, device = write_set(tmp_path / "set", training=16), torch.device("cuda")
    outcome = evaluate(SMALL, protocol(root, epochs=10, lr=5e-3), device="cuda")
    assert outcome.status == "ok", outcome.message
    assert outcome.metrics["miou"] > 0.7
    assert (outcome.machine["stepping"], outcome.machine["data"]) == ("captured", "device")
    truth = torch.tensor([[0, 1], [255, 1]], dtype=torch.uint8, device=device)
    confusion = Confusion(2, device)
    found = torch.tensor([[0, 0], [0, 1]], device=device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        confusion.add(truth, found)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert confusion.matrix().tolist() == [[1, 0], [1, 1]]
