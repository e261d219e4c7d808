"""What bad images, annotations and JSON of dense tasks get on the command line: one line that
names the file, or a count of what was skipped (DESIGN: what bad input gets)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_helpers import Cli
from dense_helpers import Trained, raw
from PIL import Image

from hybridnas.config import parse_study
from hybridnas.errors import DataError
from hybridnas.evaluate import evaluate
from hybridnas.search.plan import make_plan

pytest_plugins = ["cli_helpers", "dense_helpers"]

IMAGES = {"segmentation": "images/validation", "detection": "val2017"}


def pictures(root: Path, task: str) -> list[Path]:
    return sorted((root / IMAGES[task]).iterdir())


def cut(root: Path, task: str) -> str:
    """An image whose second half is lost."""
    path = pictures(root, task)[1]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path.name


def emptied(root: Path, task: str) -> str:
    path = pictures(root, task)[1]
    path.write_bytes(b"")
    return path.name


@pytest.fixture
def damaged(trained: Trained, tmp_path: Path) -> Path:
    """A copy of the set that the export was scored on, to be damaged."""
    return shutil.copytree(trained.data, tmp_path / "damaged")


def scored(cli: Cli, trained: Trained, data: Path, *words: str) -> Any:
    return cli.json("evaluate", str(trained.folder), "--data", str(data), *words)


@pytest.mark.parametrize("damage", [cut, emptied])
def test_a_broken_image_is_an_error_beyond_the_share_that_may_be(
    damage: Callable[[Path, str], str], trained: Trained, damaged: Path, cli: Cli
) -> None:
    name = damage(damaged, trained.task)
    line = cli.refused("evaluate", str(trained.folder), "--data", str(damaged))
    assert "1 or more of 3 images cannot be read, allowed are 0 (task.max_corrupt: 0.001)" in line
    assert f"/{name} (" in line


@pytest.mark.parametrize("damage", [cut, emptied])
def test_a_broken_image_is_counted_and_skipped_below_it(
    damage: Callable[[Path, str], str], trained: Trained, damaged: Path, tmp_path: Path
) -> None:
    damage(damaged, trained.task)
    study = raw(trained.task, damaged)
    study["task"] = {**study["task"], "max_corrupt": 0.4}
    plan = make_plan(parse_study(study, "test"))
    outcome = evaluate(trained.row.architecture, plan.protocol, device="cpu")
    assert outcome.status == "ok", outcome.message
    assert (outcome.metrics["num_images"], outcome.metrics["num_corrupt"]) == (2, 1)


def test_grey_images_are_images(trained: Trained, damaged: Path, cli: Cli) -> None:
    for path in pictures(damaged, trained.task):
        Image.open(path).convert("L").save(path)
    found = scored(cli, trained, damaged)
    assert (found["num_images"], found["num_corrupt"]) == (3, 0)


def test_a_folder_that_is_not_there_or_of_another_task(trained: Trained, cli: Cli) -> None:
    other = "detection" if trained.task == "segmentation" else "segmentation"
    for data, words in (
        ("nowhere", ("nowhere", "is")),
        (str(trained.data), (str(trained.data), "has no")),
    ):
        study = raw(other, Path(data))
        Path("study.yaml").write_text(yaml.safe_dump(study))
        line = cli.refused("search", "study.yaml", "--dry-run")
        assert all(word in line for word in words), line


# ---- masks


@pytest.mark.parametrize("trained", ["segmentation"], indirect=True)
def test_a_mask_of_another_size(trained: Trained, damaged: Path, cli: Cli) -> None:
    path = damaged / "annotations/validation/001.png"
    Image.open(path).resize((20, 30)).save(path)
    line = cli.refused("evaluate", str(trained.folder), "--data", str(damaged))
    assert f"{path} has 20 x 30 pixels, but its image" in line
    assert "has 48 x 32" in line


@pytest.mark.parametrize("trained", ["segmentation"], indirect=True)
@pytest.mark.parametrize("split", ["training", "validation"])
def test_a_label_above_the_number_of_classes(
    split: str, trained: Trained, damaged: Path, cli: Cli
) -> None:
    path = damaged / f"annotations/{split}/001.png"
    labels = np.array(Image.open(path))
    labels[3, 4] = 77
    Image.fromarray(labels).save(path)
    message = f"{path}: found label 77, allowed are 0 (ignored) to 3, the number of classes"
    if split == "validation":
        assert cli.refused("evaluate", str(trained.folder), "--data", str(damaged)) == message
    plan = make_plan(parse_study(raw("segmentation", damaged), "test"))
    with pytest.raises(DataError) as raised:
        evaluate(trained.row.architecture, plan.protocol, device="cpu")
    assert str(raised.value) == message


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["segmentation"], indirect=True)
def test_a_search_that_meets_it_on_a_worker_ends_with_that_line(
    trained: Trained, damaged: Path, cli: Cli
) -> None:
    path = damaged / "annotations/validation/001.png"
    Image.open(path).resize((20, 30)).save(path)
    Path("study.yaml").write_text(yaml.safe_dump(raw("segmentation", damaged)))
    cli.shown("search", "study.yaml", "--dry-run")  # which opens no image
    done = cli("search", "study.yaml")
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert f"{path} has 20 x 30 pixels" in line
    assert "Traceback" not in done.err
    assert cli.json("status", "segmentation")["trials"] == {}, "the same command begins anew"


# ---- COCO's JSON


def rewritten(root: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    path = root / "annotations/instances_val2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


def dry_run(cli: Cli, data: Path, **task: object) -> str:
    study = raw("detection", data)
    study["task"] = {**study["task"], **task}
    Path("study.yaml").write_text(yaml.safe_dump(study))
    return cli.refused("search", "study.yaml", "--dry-run")


@pytest.mark.parametrize("trained", ["detection"], indirect=True)
def test_an_image_of_the_json_that_is_missing(trained: Trained, damaged: Path, cli: Cli) -> None:
    (damaged / "val2017/1.png").unlink()
    words = "1 or more of 3 images cannot be read, allowed are 0 (task.max_corrupt: 0.001); among"
    for line in (
        dry_run(cli, damaged),
        cli.refused("evaluate", str(trained.folder), "--data", str(damaged)),
    ):
        assert words in line
        assert line.endswith("val2017/1.png (no such file)")
    allowed = raw("detection", damaged)
    allowed["task"] = {**allowed["task"], "max_corrupt": 0.4}
    plan = make_plan(parse_study(allowed, "test"))
    outcome = evaluate(trained.row.architecture, plan.protocol, device="cpu")
    assert (outcome.metrics["num_images"], outcome.metrics["num_corrupt"]) == (2, 1)


@pytest.mark.parametrize("trained", ["detection"], indirect=True)
def test_a_json_that_is_wrong(trained: Trained, damaged: Path, cli: Cli) -> None:
    path = rewritten(damaged, lambda content: content["annotations"][0].update(category_id=99))
    assert dry_run(cli, damaged).startswith(f"{path}: annotation ")
    rewritten(damaged, lambda content: content.pop("images"))
    assert f"{path}: needs a list of objects 'images'" in dry_run(cli, damaged)
    path.write_text("{")
    assert f"{path}: cannot be read as JSON" in dry_run(cli, damaged)
    line = dry_run(cli, damaged, val="test2017")
    assert "has no annotations/instances_test2017.json; its splits are train2017, val2017" in line
