"""`hybridnas train` in this process, and as a process that is interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import run_helpers as helpers
import torch
from cli_helpers import Cli

from hybridnas import runs
from hybridnas.errors import ConfigError
from hybridnas.processes import Share
from hybridnas.runs import Order, group
from hybridnas.train import Diverged

pytest_plugins = ["cli_helpers"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def words(cli: Cli) -> list[str]:
    """A small training, in an empty folder."""
    Path("small.json").write_text(helpers.ARCHITECTURE.to_json(), encoding="utf-8")
    helpers.write_recipe(Path("plain.yaml"), helpers.PLAIN, resolution=8)
    return ["train", "small.json", "--recipe", "plain.yaml", "--data", "digits", "--device", "cpu"]


def test_a_training_says_what_it_does_and_leaves_a_model(cli: Cli, words: list[str]) -> None:
    done = cli(*words, "--out", "run", "--epochs", "1", "--set", "seed=3")
    assert done.code == 0, done.err
    assert done.out == ""
    first, epoch, last = done.err.splitlines()
    assert first.startswith("small.json, ")
    assert "by plain.yaml: 10 steps of 100 images (1 epoch of 10) at 8 px on cpu" in first
    assert epoch.startswith("epoch 1/1: loss 2.")
    assert ", top1 0." in epoch
    assert "scored again by `hybridnas evaluate run`" in last
    told = json.loads(cli("evaluate", "run", "--json", "--device", "cpu").out)
    assert f"top1 {told['top1']:.4f}" in last


def test_it_says_the_images_of_a_step_where_there_are_fewer_than_a_batch(
    cli: Cli, words: list[str]
) -> None:
    changes = ["--set", "recipe.batch_size=4096", "--set", "recipe.cooldown_epochs=1"]
    done = cli(*words, "--out", "run", "--epochs", "3", *changes)
    assert "3 steps of 1,000 images, as there are no 4,096 " in done.err
    assert (
        "1 step of 1,000 images" in cli(*words, "--out", "one", "--epochs", "1", *changes[:2]).err
    )
    assert " (3 epochs of 1, 1 of them at the lowest rate) at 8 px" in done.err


def test_it_says_once_what_every_epoch_leaves_out(cli: Cli, words: list[str]) -> None:
    told = ["--epochs", "2", "--set", "recipe.warmup_epochs=0"]
    done = cli(*words, *told, "--out", "run", "--set", "recipe.batch_size=600")
    line = "each epoch leaves out 400 of 1,000 images, others each time, since batches are full "
    assert done.err.count(line) == 1
    assert done.err.splitlines()[1] == f"{line}ones of 600 (recipe.batch_size)"
    few = cli(*words, *told, "--out", "few", "--set", "recipe.batch_size=92")  # 80 are left out
    assert "leaves out" not in few.err


def test_help_teaches_by_examples(cli: Cli) -> None:
    shown = cli.shown("train", "--help")
    for word in ("imagenet_300e", "ade20k_160k", "coco_1x", "torchrun", "--resume", "Ctrl-C"):
        assert word in shown


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            ["--recipe", "imagenet"],
            "no recipe 'imagenet' (imagenet_300e?): it is neither a file nor",
        ),
        (["--set", "recipe.lrr=1"], "unknown key 'recipe.lrr' (lr?); allowed: batch_size, lr, "),
        (["--data", "nowhere"], "/nowhere does not exist; allowed is"),
        (["--resume"], "--resume: run holds no training (config.yaml not found)"),
        (["--weights", "none.pth"], "none.pth cannot be read: No such file"),
        (["--set", "task.num_classes=11"], "task.num_classes: digits/train has 10 classes, got 11"),
        (["--device", "gpu"], "no device 'gpu' here"),
        (["--device", "meta"], "no device 'meta' here (networks do not run on meta)"),
        (["--set", f"seed={10**20}"], "seed: must be less than 9223372036854775808, got 1"),
        (["--epochs", "1", "--set", "recipe.warmup_steps=10"], "warm-up and cool-down take 10"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    cli: Cli, words: list[str], changes: list[str], message: str
) -> None:
    assert message in cli.refused(*words, "--out", "run", *changes)


def test_a_recipe_that_starts_from_weights_asks_for_them(cli: Cli, words: list[str]) -> None:
    for folder in ("images/training", "images/validation"):
        Path(folder).mkdir(parents=True)
        Path(folder.replace("images", "annotations")).mkdir(parents=True)
    asked = cli.refused(*words, "--recipe", "ade20k_160k", "--data", ".", "--out", "run")
    assert "ade20k_160k starts from trained weights: give --weights" in asked


def test_a_training_that_diverges_names_the_curve_only_where_there_is_one(
    cli: Cli, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverging(order: Order, *_: object) -> None:
        raise Diverged("the training loss became nan in epoch 1")

    monkeypatch.setattr("hybridnas.runs.run_recipe", diverging)
    done = cli(*words, "--out", "run")
    assert done.code == 1
    assert "nan in epoch 1; try a lower recipe.lr" in done.err
    Path("run").mkdir()
    Path("run/log.csv").write_text("epoch\n1\n")
    done = cli(*words, "--out", "run")
    assert "nan in epoch 1; run/log.csv has the curve; try a lower recipe.lr" in done.err


def test_an_architecture_that_is_none_is_refused(cli: Cli, words: list[str]) -> None:
    words[1] = "mambaout_tini"
    assert "(mambaout_tiny?)" in cli.refused(*words, "--out", "run")


def test_a_folder_in_use_is_left_alone(cli: Cli, words: list[str]) -> None:
    Path("run").mkdir()
    Path("run/notes.txt").write_text("mine")
    assert "--out run is in use already" in cli.refused(*words, "--out", "run")


def test_only_the_first_of_several_processes_reports_errors(
    cli: Cli, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    wrong = [*words, "--out", "run", "--set", "recipe.lrr=1"]
    done = cli(*wrong)
    assert (done.code, done.out, done.err) == (2, "", "")
    assert "no architecture 'nope'" in cli.refused("cost", "nope")  # not a training
    monkeypatch.setenv("RANK", "0")
    assert "recipe.lrr" in cli.refused(*wrong)


@pytest.mark.parametrize(("rank", "ranks"), [("1", None), ("x", "2"), ("1", "many"), ("1", "1")])
def test_a_process_without_others_always_reports_errors(
    cli: Cli, words: list[str], monkeypatch: pytest.MonkeyPatch, rank: str, ranks: str | None
) -> None:
    """Job schedulers set RANK as well."""
    monkeypatch.setenv("RANK", rank)
    if ranks is not None:
        monkeypatch.setenv("WORLD_SIZE", ranks)
    assert "recipe.lrr" in cli.refused(*words, "--out", "run", "--set", "recipe.lrr=1")
    assert "no architecture 'nope'" in cli.refused("cost", "nope")


def test_what_the_first_process_finds_it_alone_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = ConfigError("wrong")

    def refuse() -> None:
        raise wrong

    monkeypatch.setattr(group, "gathered", lambda found: [wrong])
    for rank in (0, 1):
        with pytest.raises(ConfigError) as caught:
            group.by_first(Share(rank, 2), refuse)
        assert caught.value.told_by_first == (rank == 1)


def test_memory_that_runs_out_is_one_line(
    cli: Cli, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "run_recipe", lambda *_: torch.empty(2**50))
    done = cli(*words, "--out", "run")
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith("failed: memory is too small for this share of a batch: use more")


@pytest.mark.slow
def test_ctrl_c_saves_and_ends_with_130(cli: Cli, words: list[str]) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "hybridnas", *words, "--out", "run", "--epochs", "500"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 120
    while not Path("run/log.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "saved; the same command with --resume goes on: run" in err
    rows = len(helpers.log(Path("run")))
    assert 1 <= rows < 500
    assert Path("run/checkpoints/last.pt").exists()
