"""Figures of a study in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hybridnas.config import Task
from hybridnas.counting import number_of
from hybridnas.search.studies import read_study
from hybridnas.search.words import (
    calibrate_command,
    export_folder,
    objective_text,
    spent_words,
    time_words,
    unseen_command,
)


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (0.0, "0 s"),
        (81 / 3600, "81 s"),
        (200 / 3600, "3 min"),
        (0.5, "30 min"),
        (3.21, "3.2 hours"),
    ],
)
def test_time(hours: float, words: str) -> None:
    assert time_words(hours) == words


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 trainings"), (1, "1 training"), (1024, "1,024 trainings")]
)
def test_one_is_singular(number: int, words: str) -> None:
    assert number_of(number, "training") == words
    assert number_of(number, "study") == words.replace("trainings", "studies").replace(
        "training", "study"
    )


@pytest.mark.parametrize("name", ["top1", "latency_ms", "memory_mb"])
def test_nothing_has_no_sign(name: str) -> None:
    assert objective_text(name, -1e-9) == objective_text(name, 0.0)
    assert objective_text(name, -1.0) == f"-{objective_text(name, 1.0)}"


def test_what_was_spent() -> None:
    assert spent_words(0.25, 0.5) == "15 min, 30 min of GPU time"
    assert spent_words(2.0, 0.0) == "2.0 hours, no GPU"


@pytest.mark.parametrize(("chosen_by", "named"), [("val", "test"), ("test", "NAME")])
def test_a_winner_is_scored_on_another_split_than_chose_it(chosen_by: str, named: str) -> None:
    command = unseen_command(export_folder("mine", 4), Task(val=chosen_by))
    assert command == f"hybridnas evaluate exported/mine-4 --split {named}"


ADE20K = [
    f"{kind}/{name}" for kind in ("images", "annotations") for name in ("training", "validation")
]
COCO = ["train2017", "val2017", "annotations/instances_train2017.json"]
COCO += ["annotations/instances_val2017.json"]


@pytest.mark.parametrize(
    ("task", "paths", "named"),
    [
        ("classification", ["train", "val", "test", ".git"], "test"),
        ("classification", ["train", "val", "extra"], "NAME"),
        ("classification", ["train", "val", ".git", "README.json"], None),
        ("classification", [], "test"),  # they are not on this machine
        ("segmentation", [*ADE20K, "images/testing", "annotations/testing"], "testing"),
        ("segmentation", [*ADE20K, "images/testing"], None),  # without annotations
        ("detection", COCO, None),
        ("detection", [*COCO, "test2017", "annotations/image_info_test2017.json"], None),
        ("detection", [*COCO, "test2017", "annotations/instances_test2017.json"], "test2017"),
    ],
)
def test_the_other_split_is_one_that_the_data_have(
    task: str, paths: list[str], named: str | None, tmp_path: Path
) -> None:
    for path in (tmp_path / "data" / path for path in paths):
        (path.parent if path.suffix == ".json" else path).mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.touch()
    own = Task.model_validate({"name": task, "data": str(tmp_path / "data")})
    command = unseen_command("mine", own)
    assert command == (named and f"hybridnas evaluate mine --split {named}")


@pytest.mark.parametrize(("size", "archs"), [(10**9, 24), (24, 24), (12, 12), (8, 8)])
def test_a_calibration_asks_for_no_more_than_the_space_has(size: int, archs: int) -> None:
    command = calibrate_command(read_study("quickstart"), size)
    assert command is not None
    assert command.startswith(f"hybridnas calibrate quickstart --archs {archs} --epochs ")


def test_no_calibration_is_advised_in_a_space_of_too_few() -> None:
    assert calibrate_command(read_study("quickstart"), 7) is None
