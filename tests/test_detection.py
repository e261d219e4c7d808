"""The detection task, and trainings of small detectors from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from coco_helpers import draw
from torch import Tensor, nn

from hybridnas.architecture import Architecture, Block, Stage
from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.data.coco_loader import CocoLoader
from hybridnas.errors import ConfigError
from hybridnas.evaluate import evaluate
from hybridnas.heads import Detector, mask_rcnn
from hybridnas.layers.blocks import Gated
from hybridnas.mixers.gated_conv import GatedConv
from hybridnas.tasks.detection import DETECTION
from hybridnas.tasks.detection_score import score
from hybridnas.timm_entry import build

torch.set_num_threads(1)

CPU = torch.device("cpu")
CONV = Block(Gated(), GatedConv())
NET = Architecture(tuple(Stage(width, (CONV,)) for width in (16, 24, 32, 48)))


def protocol(root: Path, resolution: int = 96, **recipe: Any) -> Protocol:
    return Protocol(
        task=Task(name="detection", data=str(root), train="train", val="val"),
        recipe=Recipe(**{"batch_size": 4, "label_smoothing": 0.0, **recipe}),
        fidelity=Fidelity(epochs=1, resolution=resolution),
    )


def test_the_task_builds_loads_trains_and_scores(tmp_path: Path) -> None:
    draw(tmp_path, "train", 5)
    draw(tmp_path, "val", 3, seed=1)
    told = protocol(tmp_path, drop_path=0.1)
    loaders = DETECTION.loaders(told, CPU, 0)
    assert (len(loaders.train), len(loaders.val), loaders.num_classes) == (1, 1, 2)
    torch.manual_seed(0)
    model = DETECTION.network(NET, loaders.num_classes, told)
    assert isinstance(model, Detector)
    assert (model.transform.min_size, model.transform.max_size) == ((96,), 160)
    assert model.rpn.anchor_generator.sizes[0] == (pytest.approx(32 * 96 / 800),)
    heads = model.roi_heads  # fewer regions are quicker on a CPU
    heads.fg_bg_sampler.batch_size_per_image, heads.detections_per_img = 8, 5
    ((images, targets),) = loaders.train
    loss = DETECTION.loss(told.recipe)(model, images, targets)
    loss.backward()
    assert loss.shape == ()
    assert all(p.grad is not None for p in model.parameters())
    result = DETECTION.score(model, loaders.val, CPU)
    assert result.num_images == 3
    assert 0 <= result.metrics["box_ap"] <= 1
    assert model.training


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"augmentation": Augmentation(reprob=0.1)}, "detection takes hflip only, got reprob"),
        ({"label_smoothing": 0.1}, r"recipe\.label_smoothing: .* only 0 is allowed, got 0\.1"),
    ],
)
def test_what_detection_does_not_take_is_refused(
    tmp_path: Path, recipe: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        DETECTION.loaders(protocol(tmp_path, **recipe), CPU, 0)


def test_an_architecture_of_one_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two or more stages"):
        DETECTION.network(Architecture(NET.stages[:1]), 2, protocol(tmp_path))


def test_the_loss_is_the_sum_of_torchvisions() -> None:
    class Losses(nn.Module):
        def forward(self, images: object, targets: object) -> dict[str, Tensor]:
            return {"a": torch.tensor(1.5), "b": torch.tensor(2.0, dtype=torch.bfloat16)}

    loss = DETECTION.loss(Recipe())(Losses(), [], [])
    assert loss == 3.5
    assert loss.dtype == torch.float32


def fit(detector: Detector, loader: CocoLoader, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
    losses: list[float] = []
    while len(losses) < steps:
        for images, targets in loader:
            loss = DETECTION.loss(Recipe())(detector, images, targets)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(detector.parameters(), 5.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    return losses


@pytest.mark.slow
def test_drawn_objects_are_learned(tmp_path: Path) -> None:
    draw(tmp_path, "train", 9)
    draw(tmp_path, "val", 3, seed=1)
    train = DETECTION.loaders(protocol(tmp_path), CPU, 0).train
    assert isinstance(train, CocoLoader)
    torch.manual_seed(0)
    detector = mask_rcnn(
        build(NET, features_only=True),
        2,
        shorter=96,
        longer=160,
        anchor=8,
        width=32,
        rois_per_image=32,
    )
    losses = fit(detector, train, 40)
    assert losses[-1] < losses[0] / 3
    seen = CocoLoader(
        train.split, None, batch_size=4, max_corrupt=0.0, device=CPU, loader_workers=0
    )
    metrics = score(detector, seen, CPU).metrics
    assert metrics["box_ap"] > 0.2
    assert metrics["mask_ap"] > 0.2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(tmp_path: Path) -> None:
    draw(tmp_path, "train", 9)
    told = protocol(tmp_path, lr=2e-3, warmup_epochs=0.5)
    task = {"name": "detection", "data": str(tmp_path), "train": "train", "val": "train"}
    narrow = Task.model_validate({**task, "head_width": 32})
    fidelity = Fidelity(epochs=30, resolution=96)
    told = told.model_copy(update={"task": narrow, "fidelity": fidelity})
    outcome = evaluate(NET, told, device="cuda")
    assert outcome.status == "ok", outcome.message
    assert outcome.curve[-1]["loss"] < outcome.curve[0]["loss"] / 2
    assert outcome.metrics["box_ap"] > 0.1
    assert outcome.metrics["num_images"] == 9
