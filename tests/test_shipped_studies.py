"""The studies for real data: what they say is checked on miniature folders of the same layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli_helpers import Cli
from coco_helpers import draw
from mask_sets import write_set
from PIL import Image

pytest_plugins = ["cli_helpers"]


def imagenet(root: Path) -> None:
    """101 classes by WordNet's numbers, of which the recipe takes 100."""
    for split in ("train", "val"):
        for number in range(101):
            folder = root / split / f"n{number:08}"
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(folder / f"{split}_{number}.JPEG")


def ade20k(root: Path) -> None:
    write_set(root, training=3, validation=2)


def coco(root: Path) -> None:
    draw(root, "train2017", 3)
    draw(root, "val2017", 2, seed=1)


@pytest.mark.parametrize(
    ("study", "write", "classes", "rungs"),
    [
        ("imagenet_proxy", imagenet, 100, 2),
        ("ade20k_proxy", ade20k, 3, 2),
        ("coco_proxy", coco, 2, 1),
        ("cluster", imagenet, 100, 2),
    ],
)
def test_it_passes_the_dry_run(
    study: str, write: Callable[[Path], None], classes: int, rungs: int, cli: Cli, tmp_path: Path
) -> None:
    write(tmp_path / "data")
    data = f"task.data={tmp_path / 'data'}"
    found = cli.json("search", study, "--set", data, "--dry-run")
    assert (found["study"], found["classes"], len(found["fidelities"])) == (study, classes, rungs)
    assert 0.02 < found["feasible_share"] < 1, "the limit binds, and leaves enough"
    assert found["sampler"] == "ehvi"
    assert not (tmp_path / "hybridnas.db").exists()
    elastic = "64 candidates at once, 8 CPU and 1 GPU each"
    assert (found["resources"] == elastic) == (study == "cluster")


def test_two_tasks_pass_the_dry_run(cli: Cli, tmp_path: Path) -> None:
    imagenet(tmp_path / "imagenet")
    ade20k(tmp_path / "ade")
    settings = [f"task.data={tmp_path / 'imagenet'}", f"also.ade20k.task.data={tmp_path / 'ade'}"]
    words = ["search", "imagenet_ade20k", *(word for s in settings for word in ("--set", s))]
    found = cli.json(*words, "--dry-run")
    other = found["also"]["ade20k"]
    assert (found["classes"], other["task"], other["classes"]) == (100, "segmentation", 3)
    assert [rung["candidates"] for rung in other["fidelities"]] == [
        150,
        found["fidelities"][1]["candidates"],
    ]
    assert 0.02 < found["feasible_share"] < 1, "the limits bind, and leave enough"
    refused = cli.refused("search", "imagenet_ade20k", "--set", settings[0], "--dry-run")
    assert "also.ade20k: task.data: " in refused


def test_a_missing_data_set_is_said_at_once(cli: Cli) -> None:
    assert "/shared/imagenet does not exist" in cli.refused("search", "cluster", "--dry-run")
