"""Subsets of classes and images: which they are, and that they stay so."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from PIL import Image

from hybridnas.config import Fidelity, Protocol, Recipe, Task
from hybridnas.data import class_names, data_digest, open_split, open_splits
from hybridnas.errors import DataError

NAMES = tuple("abcdefgh")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for split in ("train", "val"):
        for name in NAMES:
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (2 + i, 2)).save(tmp_path / "set" / split / name / f"{i}.png")
    return str(tmp_path / "set")


def files(task: Task, split: str) -> list[str]:
    opened = open_split(task, split)
    return [str(Path(opened.name(i)).relative_to(opened.where)) for i in range(len(opened))]


def test_classes_by_name_keep_their_order(folder: str) -> None:
    task = Task(data=folder, classes=("g", "b"))
    train, val = open_splits(task)
    assert train.class_names == val.class_names == ("b", "g")
    assert files(task, "train") == [f"{name}/{i}.png" for name in "bg" for i in range(4)]
    assert train.labels.tolist() == [0] * 4 + [1] * 4


def test_so_many_classes_are_the_same_ones_and_part_of_more(folder: str) -> None:
    chosen = [set(class_names(Task(data=folder, num_classes=n))) for n in range(2, 9)]
    assert [len(names) for names in chosen] == list(range(2, 9))
    assert all(few < more for few, more in pairwise(chosen))
    assert class_names(Task(data=folder, num_classes=3)) == ("c", "d", "f")  # for ever


def test_so_many_images_of_each_class_are_trained_on_and_all_are_scored(folder: str) -> None:
    few, more = (Task(data=folder, per_class=n) for n in (1, 3))
    assert open_split(few, "train").counts() == dict.fromkeys(NAMES, 1)
    assert set(files(few, "train")) < set(files(more, "train"))
    assert len(open_split(few, "val")) == 32
    assert len(open_split(Task(data=folder, per_class=9), "train")) == 32


def test_where_the_data_lies_does_not_matter(folder: str, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "moved")
    tasks = [Task(data=str(at), num_classes=4, per_class=2) for at in (folder, tmp_path / "moved")]
    assert files(tasks[0], "train") == files(tasks[1], "train")


def test_digits_have_subsets_too() -> None:
    train, val = open_splits(Task(classes=("3", "8"), per_class=5))
    assert train.counts() == {"3": 5, "8": 5}
    assert set(val.labels.tolist()) == {0, 1}


def test_a_subset_is_another_protocol(folder: str) -> None:
    def digest(**subset: object) -> str:
        task = Task.model_validate({"data": folder, **subset})
        fidelity = Fidelity(epochs=1, resolution=8)
        return Protocol(task=task, recipe=Recipe(), fidelity=fidelity, data_digest="x").digest

    found = {
        digest(),
        digest(num_classes=4),
        digest(per_class=2),
        digest(classes=["a", "b"]),
        digest(classes=["a", "c"]),
    }
    assert len(found) == 5


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        ({"classes": ("a", "bb")}, r"has no class bb \(b\?\); it has a, b, c"),
        ({"classes": ("a", "z")}, r"task.classes: .*train has no class z; it has a, b, c"),
        ({"num_classes": 9}, r"task.num_classes: .*train has 8 classes, got 9"),
    ],
)
def test_classes_that_are_not_there_are_named(
    folder: str, subset: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        open_split(Task.model_validate({"data": folder, **subset}), "train")


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"classes": ["a", "b"], "num_classes": 2}, "give one of classes and num_classes"),
        ({"name": "segmentation", "data": "x", "per_class": 2}, "images of classification, not of"),
        ({"num_classes": 1}, "greater than or equal to 2"),
    ],
)
def test_subsets_that_make_no_sense_are_refused(task: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Task.model_validate(task)


def test_a_split_that_is_neither_trained_nor_scored_on_is_not_opened(folder: str) -> None:
    before = data_digest(*open_splits(Task(data=folder)))
    third = Path(folder) / "test" / "a"
    third.mkdir(parents=True)
    (third / "0.png").write_text("no image")
    assert data_digest(*open_splits(Task(data=folder))) == before
    with pytest.raises(DataError, match="needed are two or more"):
        open_split(Task(data=folder), "test")
