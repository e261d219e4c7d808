"""Full trainings: where they go on, what they write, and what they refuse."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import run_helpers as helpers
import timm
import torch
from PIL import Image
from run_helpers import PLAIN, After, Told, config, log, order
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hybridnas import reference
from hybridnas.architecture import Architecture
from hybridnas.data import images
from hybridnas.data.split import Split
from hybridnas.errors import ConfigError, DataError
from hybridnas.export import score_export
from hybridnas.processes import Share
from hybridnas.runs import Interrupted, Order, RunConfig, run_recipe
from hybridnas.runs.run import check_order
from hybridnas.strict_yaml import read_yaml
from hybridnas.tasks import TASKS
from hybridnas.tasks.classification import validation_loader
from hybridnas.timm_entry import build

NEVER = After(10**9)


def killed(told: Order, steps: int) -> None:
    """In a process of its own."""
    torch.set_num_threads(1)
    run_recipe(told, Told(), After(steps, kill=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing stopped, of three epochs of ten steps."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run_recipe(order(out), Told(), NEVER)
    return out


def assert_the_same(folder: Path, whole: Path) -> None:
    assert log(folder) == log(whole)
    mine, theirs = (load_file(path / "model.safetensors") for path in (folder, whole))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bit(whole: Path, tmp_path: Path) -> None:
    told = order(tmp_path / "killed", checkpoint_every=4)
    process = multiprocessing.get_context("spawn").Process(target=killed, args=(told, 17))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert len(log(told.out)) == 1  # the first epoch; the second was cut
    view = Told()
    run_recipe(replace(told, resume=True), view, NEVER)
    assert view.begun[0].first_step == 14  # the last multiple of 4 in the second epoch
    assert_the_same(told.out, whole)


def test_a_stopped_training_goes_on_with_the_next_step(whole: Path, tmp_path: Path) -> None:
    told = order(tmp_path / "stopped")
    for resume, first_step in ((False, 0), (True, 7), (True, 14)):
        view = Told()
        with pytest.raises(Interrupted):
            run_recipe(replace(told, resume=resume), view, After(7))
        assert view.begun[0].first_step == first_step
        assert view.steps == [*range(first_step + 1, first_step + 8)]
    run_recipe(replace(told, resume=True), Told(), NEVER)
    assert_the_same(told.out, whole)


def test_a_finished_training_that_is_resumed_stays_what_it_is(whole: Path) -> None:
    before, rows = (whole / "model.safetensors").read_bytes(), log(whole)
    last = run_recipe(order(whole, resume=True), Told(), NEVER)
    assert (whole / "model.safetensors").read_bytes() == before
    assert log(whole) == rows
    assert str(last["top1"]) == rows[-1]["top1"]


def test_the_folder_is_a_model_that_scores_what_its_log_says(whole: Path) -> None:
    last = log(whole)[-1]
    found = score_export(whole, device="cpu")
    assert found["top1"] == float(last["top1"])
    assert f"{found['top1']:.4f}" in (whole / "README.md").read_text()
    model = timm.create_model(f"local-dir:{whole}", pretrained=True)
    assert model.num_classes == 10


def test_the_log_has_a_row_an_epoch(whole: Path) -> None:
    rows = log(whole)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "10"), ("2", "20"), ("3", "30")]
    assert rows[0].keys() >= {"loss", "lr", "top1", "top5", "val_loss", "num_images"}
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_tensorboard_shows_what_the_log_says(whole: Path) -> None:
    events = EventAccumulator(str(whole / "tensorboard")).Reload()
    for name, column in (
        ("train/loss", "loss"),
        ("val/top1", "top1"),
        ("val/loss", "val_loss"),
        ("train/lr", "lr"),
    ):
        shown = {event.step: event.value for event in events.Scalars(name)}
        wanted = {int(row["step"]): float(row[column]) for row in log(whole)}
        assert shown == pytest.approx(wanted, rel=1e-6)


def test_the_best_weights_are_those_of_the_best_epoch(whole: Path) -> None:
    kept = load_file(whole / "checkpoints" / "best.safetensors")
    model = build(helpers.ARCHITECTURE, num_classes=10)
    model.load_state_dict(kept)
    task = helpers.config(helpers.STRONG).task
    cpu = torch.device("cpu")
    loader = validation_loader(task, resolution=16, crop_pct=1, batch_size=100, device=cpu)
    found = TASKS["classification"].score(model, loader, cpu).metrics
    assert found["top1"] == max(float(row["top1"]) for row in log(whole))


def test_config_yaml_says_all_that_repeats_it(whole: Path) -> None:
    told = read_yaml(whole / "config.yaml")
    assert RunConfig.model_validate(told["training"]) == helpers.config(helpers.STRONG)
    assert Architecture.from_dict(told["architecture"]) == helpers.ARCHITECTURE
    assert told["recipe"] == "test"
    assert told["steps_per_epoch"] == 10
    assert told["class_names"] == list("0123456789")
    assert {"data_digest", "versions", "machine", "git_commit", "started_at"} <= told.keys()


def test_one_listing_tells_digest_and_classes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, real = [], images._open_digits

    def counted(split: str) -> Split:
        listed.append(split)
        return real(split)

    monkeypatch.setattr(images, "_open_digits", counted)
    with pytest.raises(Interrupted):
        run_recipe(order(tmp_path / "run"), Told(), After(1))
    assert listed[:2] == ["train", "val"]
    assert listed[2:] in ([], ["train", "val"])  # those to read from, unless a test had them before


def test_the_card_says_with_which_batches_it_was_scored(tmp_path: Path) -> None:
    """497 images are scored, in a batch of their own number where the recipe's is larger."""
    recipe = {**helpers.PLAIN, "batch_size": 600}
    run_recipe(order(tmp_path / "run", config=helpers.config(recipe, 8, epochs=1)), Told(), NEVER)
    assert "batch size 497" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


def test_a_training_by_iterations_ends_within_an_epoch(tmp_path: Path) -> None:
    told = helpers.config(helpers.PLAIN, 8, epochs=None, iterations=13, score_every=5)
    run_recipe(order(tmp_path / "short", config=told), Told(), NEVER)
    rows = log(tmp_path / "short")
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "10"), ("2", "13")]
    assert [row["top1"] != "" for row in rows] == [False, True]


def test_the_drop_path_is_that_of_the_nearest_reference() -> None:
    table = {"mambaout_femto": 0.1, "mambaout_base": 0.5}
    told = helpers.config({}, drop_paths=table)
    assert told.fitted(helpers.ARCHITECTURE).recipe.drop_path == 0.1
    assert told.fitted(reference("mambaout_small")).recipe.drop_path == 0.5
    assert told.fitted(reference("mambaout_femto")).drop_paths == {}


# ---- what is refused


@pytest.fixture
def begun(tmp_path: Path) -> Order:
    """A training that stopped after its second step."""
    told = order(tmp_path / "begun")
    with pytest.raises(Interrupted):
        run_recipe(told, Told(), After(2))
    return told


def refused(told: Order, message: str, kind: type[Exception] = ConfigError) -> None:
    with pytest.raises(kind, match=message):
        run_recipe(told, Told(), NEVER)


def test_a_folder_in_use_is_refused(begun: Order, tmp_path: Path) -> None:
    refused(begun, "is in use already: go on with it by --resume, or name a new folder")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    refused(order(other), "is in use already: name a new folder")
    refused(order(other, resume=True), "holds no training")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {**helpers.STRONG, "lr": 1.0}}, r"another training.recipe.lr: 0.002 then, 1.0"),
        ({"epochs": 4}, "another training.epochs: 3 then, 4 now"),
        ({"seed": 1}, "another training.seed: 0 then, 1 now"),
    ],
)
def test_another_recipe_is_no_resumption(
    begun: Order, changes: dict[str, Any], message: str
) -> None:
    recipe = changes.pop("recipe", helpers.STRONG)
    told = helpers.config(recipe, **changes)
    refused(replace(begun, config=told, resume=True), message)


def test_a_broken_checkpoint_is_named(begun: Order) -> None:
    path = begun.out / "checkpoints" / "last.pt"
    path.write_bytes(path.read_bytes()[:100])
    refused(replace(begun, resume=True), "last.pt cannot be read", DataError)


def test_a_batch_must_divide_among_the_processes() -> None:
    with pytest.raises(ConfigError, match="batch_size 100 cannot be divided among 3 processes"):
        check_order(order(Path("unused")), helpers.config(helpers.STRONG), Share(1, 3))


@pytest.mark.parametrize(("batch_size", "num_ranks"), [(6, 2), (5, 1)])
def test_what_is_mixed_in_pairs_must_divide_into_them(batch_size: int, num_ranks: int) -> None:
    told = helpers.config({**helpers.STRONG, "batch_size": batch_size})
    with pytest.raises(ConfigError, match=f"must be a multiple of {2 * num_ranks}"):
        check_order(order(Path("unused")), told, Share(0, num_ranks))
    check_order(order(Path("unused")), helpers.config(helpers.PLAIN), Share(0, 4))


def test_a_recipe_that_starts_from_weights_needs_some(tmp_path: Path) -> None:
    told = helpers.config(helpers.PLAIN, 8, init="weights")
    refused(order(tmp_path / "none", config=told), "give --weights FILE")
    assert not (tmp_path / "none").exists()


def test_weights_are_where_it_starts(whole: Path, tmp_path: Path) -> None:
    told = helpers.config({**helpers.PLAIN, "lr": 1e-9, "min_lr": 0}, 16, epochs=1, init="weights")
    weights = whole / "model.safetensors"
    last = run_recipe(order(tmp_path / "again", config=told, weights=weights), Told(), NEVER)
    assert last["top1"] == pytest.approx(float(log(whole)[-1]["top1"]), abs=2e-3)
    record = read_yaml(tmp_path / "again" / "config.yaml")
    assert record["weights"] == str(weights)
    assert len(record["init_digest"]) == 64


def test_broken_validation_images_are_found_before_the_first_epoch(tmp_path: Path) -> None:
    for split, kind in itertools.product(("train", "val"), "ab"):
        (tmp_path / "set" / split / kind).mkdir(parents=True)
        for number in range(200):
            Image.new("L", (8, 8), number).save(tmp_path / f"set/{split}/{kind}/{number:03}.png")
    broken = sorted((tmp_path / "set/val").rglob("*.png"))
    for path in broken[200:]:
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    keys = {"name": "classification", "data": str(tmp_path / "set"), "max_corrupt": 0.1}
    told, seen = order(tmp_path / "run", config=config(PLAIN, 8, task=keys)), Told()
    message = r"val: 50 or more of 400 images cannot be read, allowed are 40 .*/b/000.png \("
    with pytest.raises(DataError, match=message):
        run_recipe(told, seen, NEVER)
    assert not seen.begun
    assert not told.out.exists()
