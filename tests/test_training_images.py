"""How many images a training goes through, by what is said of it and by its loader."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import search_helpers as helpers
import torch
from dense_helpers import raw, write_data
from rich.console import Console

from hybridnas.cli.live import Lines, LiveView
from hybridnas.config import Task
from hybridnas.data import masks
from hybridnas.search.ladder import ladder, left_out
from hybridnas.search.plan import make_plan
from hybridnas.search.studies import read_study
from hybridnas.store import Store
from hybridnas.tasks import TASKS


@pytest.mark.parametrize("task", ["segmentation", "detection"])
@pytest.mark.parametrize("batch_size", [2, 3])
def test_masks_and_boxes(task: str, batch_size: int, tmp_path: Path) -> None:
    """Of four with something to see on them."""
    data = write_data(task, tmp_path / "data")
    plan = make_plan(read_study(raw(task, data, recipe={"batch_size": batch_size})))
    train = TASKS[task].loaders(plan.protocol, torch.device("cpu"), 0).train
    (rung,) = ladder(plan)
    assert rung.images == len(train) * train.batch_size == {2: 4, 3: 3}[batch_size]


@pytest.mark.parametrize("mixup", [0.0, 0.8])
@pytest.mark.parametrize("batch_size", [33, 128, 5000])
def test_labels(mixup: float, batch_size: int, tmp_path: Path) -> None:
    """Of 1,000 digits; images are mixed in pairs, so that a batch of 33 has 32."""
    recipe = {"batch_size": batch_size, "augmentation": {"mixup": mixup}}
    study = raw("classification", tmp_path, recipe=recipe)
    plan = make_plan(read_study({**study, "task": {"name": "classification", "data": "digits"}}))
    train = TASKS["classification"].loaders(plan.protocol, torch.device("cpu"), 0).train
    (rung,) = ladder(plan)
    size = min(1000, batch_size - batch_size % 2 if mixup else batch_size)
    assert rung.images == len(train) * train.batch_size == size * (1000 // size)


def test_files_are_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For classes, digest, rungs and what batches leave out, and once by a process for all its
    candidates to train on: on large data that takes a while."""
    listed: list[str] = []
    open_split = masks.open_split

    def counted(task: Task, split: str) -> masks.MaskSplit:
        listed.append(split)
        return open_split(task, split)

    monkeypatch.setattr(masks, "open_split", counted)
    data = write_data("segmentation", tmp_path / "data")
    plan = make_plan(read_study(raw("segmentation", data, recipe={"batch_size": 3})))
    assert ladder(plan)[0].images == 3
    (line,) = left_out(plan)
    assert line.startswith("each epoch leaves out 1 of 4 images")
    assert listed == ["training", "validation"]
    for _ in range(2):
        TASKS["segmentation"].loaders(plan.protocol, torch.device("cpu"), 0)
    assert listed.count("training") == 2


@pytest.mark.parametrize("view", [Lines, LiveView])
def test_it_is_said_once_when_the_first_candidate_starts(
    view: type[Lines | LiveView], study_store: Store
) -> None:
    plan, seen = helpers.plan(), io.StringIO()
    core = helpers.start(plan, study_store)
    with view(plan.study, Console(file=seen), ["images are left out"]) as watch:
        watch.note("starting Ray")
        assert "left out" not in seen.getvalue()
        for _ in range(2):
            watch.started(helpers.asked(core))
    assert seen.getvalue().count("images are left out\n") == 1
