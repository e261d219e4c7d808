"""Folders of data that are laid out for another task than the study's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hybridnas.config import Task
from hybridnas.data_folder import of_another_task, subfolders
from hybridnas.errors import DataError
from hybridnas.tasks import TASKS

LAYOUTS = {
    "classification": ("train/cat", "train/dog", "val/cat", "val/dog"),
    "segmentation": ("images/training", "images/validation", "annotations/training"),
    "detection": ("annotations", "train2017", "val2017"),
}
SIGNS = {
    "classification": "train/CLASS",
    "segmentation": "images/training, annotations/training",
    "detection": "train2017, annotations/instances_train2017.json",
}


@pytest.fixture(params=LAYOUTS)
def laid_out(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """A task, and a folder as its data have it."""
    for folder in LAYOUTS[request.param]:
        (tmp_path / folder).mkdir(parents=True)
    if request.param == "detection":
        (tmp_path / "annotations" / "instances_train2017.json").touch()
    return request.param, tmp_path


def test_a_refusal_says_which_task_a_folder_is_for(laid_out: tuple[str, Path]) -> None:
    own, folder = laid_out
    for other in TASKS.keys() - {own}:
        with pytest.raises(DataError) as refused:
            TASKS[other].splits(Task.model_validate({"name": other, "data": str(folder)}))
        assert str(refused.value).startswith(f"task.data: {folder} has no ")
        looks = f"; it looks like data of {own} ({SIGNS[own]}: task.name={own})"
        assert str(refused.value).endswith(looks)


def test_nothing_is_said_of_what_is_like_no_other_tasks(laid_out: tuple[str, Path]) -> None:
    own, folder = laid_out
    assert of_another_task(own, folder) == ""
    (folder / "empty").mkdir()
    assert all(of_another_task(task, folder / "empty") == "" for task in TASKS)


def test_links_that_lead_nowhere_are_no_folders(tmp_path: Path) -> None:
    for name, place in (("loop", "loop"), ("gone", "nowhere"), ("linked", "real")):
        (tmp_path / name).symlink_to(place)
    (tmp_path / "real").mkdir()
    (tmp_path / "file").touch()
    assert subfolders(tmp_path) == ["linked", "real"]
