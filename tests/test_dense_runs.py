"""Recipes of segmentation and detection, from a classifier's weights to a folder that is scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import coco_helpers
import mask_sets
import pytest
from run_helpers import ARCHITECTURE, After, Told, log, order
from safetensors.torch import load_file, save_file

from hybridnas.errors import DataError
from hybridnas.export import score_export
from hybridnas.runs import Interrupted, Order, load_recipe, run_recipe
from hybridnas.timm_entry import build

NEVER = After(10**9)
SMALL = {
    "segmentation": [
        *("resolution=32", "recipe.batch_size=4", "task.head_width=16"),
        *("iterations=4", "recipe.warmup_steps=2", "recipe.layer_decay=0.9"),
    ],
    "detection": [
        *("resolution=64", "recipe.batch_size=2", "task.head_width=16"),
        *("epochs=2", "recipe.milestones=[1]", "recipe.warmup_steps=1", "recipe.layer_decay=0.9"),
    ],
}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Of a classifier of 1000 classes."""
    path = tmp_path / "classifier.safetensors"
    save_file(build(ARCHITECTURE, num_classes=1000).state_dict(), path)
    return path


def small(task: str, tmp_path: Path) -> Order:
    if task == "segmentation":
        name, data = "ade20k_160k", mask_sets.write_set(tmp_path / "set")
    else:
        name, data = "coco_1x", tmp_path / "set"
        for seed, split in enumerate(("train2017", "val2017")):
            coco_helpers.draw(data, split, 5, seed=seed)
    config = load_recipe(name, SMALL[task], data=str(data))
    return order(tmp_path / "run", config=config)


@pytest.mark.parametrize(("task", "metric"), [("segmentation", "miou"), ("detection", "box_ap")])
def test_a_dense_recipe_trains_stops_and_goes_on(
    task: str, metric: str, tmp_path: Path, weights: Path
) -> None:
    told = replace(small(task, tmp_path), weights=weights)
    with pytest.raises(Interrupted):
        run_recipe(told, Told(), After(2))
    last = run_recipe(replace(told, resume=True), Told(), NEVER)
    whole = replace(told, out=tmp_path / "whole")
    run_recipe(whole, Told(), NEVER)
    assert log(told.out) == log(whole.out)
    assert metric in last
    found = score_export(told.out, device="cpu")
    assert found[metric] == pytest.approx(last[metric], abs=1e-9)
    trained = load_file(told.out / "model.safetensors")
    start = load_file(weights)
    moved = (trained["stem.conv1.weight"] - start["stem.conv1.weight"]).abs().max()
    assert 0 < moved < 1e-2  # it started there


@pytest.mark.parametrize(
    ("task", "pictures"), [("segmentation", "images/validation"), ("detection", "val2017")]
)
def test_a_broken_validation_image_is_found_before_the_first_epoch(
    task: str, pictures: str, tmp_path: Path, weights: Path
) -> None:
    told, seen = replace(small(task, tmp_path), weights=weights), Told()
    path = max((tmp_path / "set" / pictures).iterdir())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=rf"cannot be read, allowed are 0 .*{path.name} \("):
        run_recipe(told, seen, NEVER)
    assert not seen.begun
    assert not told.out.exists()
