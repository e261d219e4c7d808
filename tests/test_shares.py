"""What each of several processes gets of the images, without starting any."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from coco_helpers import draw
from mask_sets import task as mask_task
from mask_sets import write_set
from PIL import Image
from torch import nn

from hybridnas.config import Augmentation, Fidelity, Protocol, Recipe, Task
from hybridnas.errors import ConfigError
from hybridnas.processes import ALONE, Share
from hybridnas.runs.group import process_group
from hybridnas.runs.run import check_steps
from hybridnas.tasks import TASKS, Loaders
from hybridnas.tasks import classification as classification_task

CPU = torch.device("cpu")


def loaders(task: Task, share: Share, **recipe: object) -> Loaders:
    """Of a share, with augmentation that every task takes."""
    given = {"label_smoothing": 0.0, "augmentation": Augmentation(hflip=0.0), **recipe}
    told = Protocol(
        task=task,
        recipe=Recipe.model_validate(given),
        fidelity=Fidelity(epochs=1, resolution=32),
    )
    return TASKS[task.name].loaders(told, CPU, 0, share)


@pytest.mark.parametrize(
    ("batch_size", "num_ranks", "each"), [(100, 2, 50), (512, 2, 249), (512, 1, 497), (8, 8, 1)]
)
def test_a_scoring_batch_is_divided_and_nobody_is_left_out(
    batch_size: int, num_ranks: int, each: int
) -> None:
    shares = [Share(rank, num_ranks) for rank in range(num_ranks)]
    parts = [loaders(Task(), share, batch_size=batch_size).val for share in shares]
    assert {part.batch_size for part in parts} == {each}
    assert min(len(part) for part in parts) > 0
    if num_ranks == 2:
        assert sum(len(labels) for part in parts for _, labels in part) == 497


def test_dense_scoring_batches_are_divided_too(tmp_path: Path) -> None:
    masks = write_set(tmp_path / "masks", size=(30, 48))
    draw(tmp_path / "coco", "train", 8)
    draw(tmp_path / "coco", "val", 3, seed=1)
    coco = Task(name="detection", data=str(tmp_path / "coco"), train="train", val="val")
    assert loaders(mask_task(masks), Share(0, 2), batch_size=4).val.batch_size == 2
    for rank, batches in ((0, 1), (1, 1)):
        part = loaders(coco, Share(rank, 2), batch_size=8).val
        assert (part.batch_size, len(part)) == (2, batches)


def test_a_training_without_a_step_is_refused(tmp_path: Path) -> None:
    """Three images for two processes that mix them in pairs."""
    for split, number in (("train", 3), ("val", 2)):
        for name in "ab":
            (tmp_path / split / name).mkdir(parents=True)
        for i in range(number):
            Image.new("RGB", (8, 8)).save(tmp_path / split / "ab"[i % 2] / f"{i}.png")
    task, mixing = Task(data=str(tmp_path)), Augmentation(mixup=0.2)
    few = loaders(task, Share(0, 2), batch_size=4, augmentation=mixing)
    with pytest.raises(ConfigError, match="too few images for 2 processes with batches of 2 each"):
        check_steps(few, Share(0, 2))
    check_steps(loaders(task, ALONE, batch_size=2, augmentation=mixing), ALONE)


def test_a_process_without_an_image_scores_with_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    val = loaders(Task(), Share(499, 500), batch_size=500).val
    assert len(val) == 0
    others = torch.tensor([2, 3, 4, 6.0])
    monkeypatch.setattr(classification_task, "summed", lambda counts: counts + others)
    found = classification_task.score(nn.Flatten(), val, CPU)
    assert (found.metrics["top1"], found.metrics["top5"], found.num_images) == (0.5, 0.75, 4)
    assert found.metrics["loss"] == 1.5


def test_more_processes_than_gpus_are_refused_in_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hybridnas.runs.group.pick_device", torch.device)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    for name, value in {"WORLD_SIZE": 8, "LOCAL_WORLD_SIZE": 8, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    refused = pytest.raises(ConfigError, match="a GPU of its own, of which there are 4 here")
    with refused, process_group("cuda"):
        pass
