"""Folders of data that are laid out for another task than the study's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hybridnas.config import Task
from hybridnas.data import open_split
from hybridnas.data_folder import check_data, near_split, of_another_task, subfolders
from hybridnas.errors import DataError
from hybridnas.tasks import TASKS

COCO = "annotations/instances_train2017.json annotations/instances_val2017.json"
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


# Folders and files, a task, and what is said of them behind `task.data: FOLDER has no `.
WRONG = [
    ("train/cat train/dog valid/cat", "classification", "folder val (task.val=valid?); "),
    ("Train/cat Train/dog", "classification", "folder train (task.train=Train?); "),
    ("train/cat train/dog test/cat", "classification", "folder val (task.val=test?); "),
    ("train/cat train/dog dog.jpg", "classification", "folder val; {0} holds train"),
    ("train.tar valid.tar train/a", "classification", "folder val (task.val=valid?); "),
    ("cat dog", "classification", "folder train; {0} holds cat, dog; needed: train/CLASS"),
    ("a.jpg b.jpg", "classification", "holds files alone: a.jpg, b.jpg; needed: train/CLASS"),
    ("", "classification", "{0} holds nothing; needed: train/CLASS"),
    ("in/train/cat in/val/cat", "classification", "{0} holds in (task.data={0}/in?)"),
    ("cat/train dog/train", "classification", "{0} holds cat, dog; needed: train/CLASS"),
    ("test/a test/b train/a train/b", "segmentation", "classification (train/CLASS: task."),
    ("images/train labels/train", "segmentation", "holds train; needed: images/training, ann"),
    ("train/images train/masks", "segmentation", "holds train; needed: images/training, ann"),
    ("images/train annotations/train", "segmentation", "training (task.train=train?); {0}/im"),
    ("images/0.jpg annotations/0.png", "segmentation", "{0}/images holds files alone: 0.jpg"),
    ("train val annotations/instances_train.json", "detection", "2017.json (task.train=train?); "),
    ("images annotations/all.json", "detection", "other names (annotations/all.json) are given"),
    ("images/val2017 train2017 COCO", "detection", "(task.val={1}val2017.json:images/val2017?)"),
]


@pytest.mark.parametrize(("places", "task", "said"), WRONG)
def test_a_refusal_says_what_there_is_and_what_would_do(
    places: str, task: str, said: str, tmp_path: Path
) -> None:
    for place in places.replace("COCO", COCO).split():
        path = tmp_path / place
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.touch()
    wanted = Task.model_validate({"name": task, "data": str(tmp_path)})
    with pytest.raises(DataError) as refused:
        check_data(task, str(tmp_path), wanted.train, wanted.val)
    assert said.format(tmp_path, "annotations/instances_") in str(refused.value)
    assert str(refused.value).startswith(f"task.data: {tmp_path} has no ")


def test_what_is_scored_alone_has_no_setting(tmp_path: Path) -> None:
    for name in ("train/cat", "testing/cat"):
        (tmp_path / name).mkdir(parents=True)
    alone = Task(data=str(tmp_path), train="test", val="test")
    with pytest.raises(DataError, match=r"has no folder test \(testing\?\); "):
        open_split(alone, "test")
    assert near_split("tets", ["train", "test"]) == " (test?)"
    assert near_split("extra", ["train", "test"]) == ""


def test_links_that_lead_nowhere_are_no_folders(tmp_path: Path) -> None:
    for name, place in (("loop", "loop"), ("gone", "nowhere"), ("linked", "real")):
        (tmp_path / name).symlink_to(place)
    (tmp_path / "real").mkdir()
    (tmp_path / "file").touch()
    assert subfolders(tmp_path) == ["linked", "real"]
