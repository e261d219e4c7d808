"""What `hybridnas search` is refused for, before anything is written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
from cli_helpers import DATABASE, Cli, write_study

pytest_plugins = ["cli_helpers"]

BAD_STUDIES: list[tuple[dict[str, Any], str]] = [
    (
        {"trials": 3},
        r"unknown key 'trials' \(budget\.trials\?\); allowed: task, recipe, fidelities",
    ),
    (
        {"budget": {"trails": 3}},
        r"unknown key 'budget.trails' \(trials\?\); allowed: trials, hours, gpu_hours",
    ),
    ({"space": {**helpers.SIX, "widths": 3}}, r"unknown key 'widths'; allowed: name, "),
    ({"space": "hybrid_smal"}, r"no search space 'hybrid_smal' \(hybrid_small\?\): it is"),
    (
        {"references": ["mambaout_tinny"]},
        r"unknown reference architecture 'mambaout_tinny' \(mambaout_tiny\?\); known",
    ),
    ({"references": ["mambaout_tiny"]}, r"reference 'mambaout_tiny' is not in the space 'six'"),
    ({"constraints": {"macs": {"max": 10}}}, r"macs must keep max 10, the space reaches \d"),
    ({"task": {"data": "nowhere"}}, r"task.data: .*/nowhere does not exist; allowed is 'digits'"),
    ({"task": {"data": "shapes.yaml"}}, r"task.data: .*/shapes.yaml is a file"),
    ({"task": {"val": "dev"}}, r"digits have no split 'dev'; allowed: train, val, test"),
    ({"task": "tracking"}, r"task.name: .*'classification', .*, got 'tracking'"),
    (
        {"recipe": {"warmup_epochs": 2}},
        r"^fidelities\.0: recipe: warmup_epochs 2 must fit into 1 epoch; shorter .*=0\.1$",
    ),
    ({"budget": {"trials": 0}}, r"budget.trials: .* greater than 0, got 0"),
    (
        {"objectives": {"macs": "minimize"}},
        r"name at least one that is scored \(top1, top5, loss\)",
    ),
]


@pytest.mark.parametrize(("changes", "message"), BAD_STUDIES)
def test_a_bad_study_is_refused_before_anything_is_written(
    cli: Cli, changes: dict[str, Any], message: str
) -> None:
    file = write_study(**changes)
    for more in ([], ["--dry-run"], ["--resume"]):
        refused = cli.refused("search", file, *more)
        assert re.search(message, refused), refused


def test_an_impossible_space_is_refused(cli: Cli) -> None:
    blocks = {**helpers.BLOCKS, "attention": {"form": "metaformer", "head_dim": 5}}
    file = write_study(space={**helpers.SIX, "blocks": blocks})
    message = cli.refused("search", file)
    assert "stage 1, attention with width 8" in message
    assert "5" in message


def test_a_data_set_names_what_is_missing(cli: Cli) -> None:
    for name in ("train/cat", "train/dog", "val/cat"):
        Path("pets", name).mkdir(parents=True)
    for path in Path("pets").glob("*/*"):
        (path / "1.jpg").touch()
    file = write_study(task={"data": "pets", "val": "test"})
    assert "pets has no folder test; " in cli.refused("search", file)
    Path("pets/val/dog").mkdir()
    file = write_study(task={"data": "pets"})
    assert "pets/val: no images in dog; an image's name ends in" in cli.refused("search", file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("nope",),
            "no study 'nope': it is neither a file nor one of the shipped ones (ade20k_proxy, ",
        ),
        (("quikstart",), "no study 'quikstart' (quickstart?): it is neither a file"),
        ((".",), "no study '.': that is a folder, a YAML file is needed"),
        (("quickstart", "--set", "budget=5"), "budget: must be a mapping (keys: trials, hours, g"),
        (("nope", "--resume"), f"/{DATABASE}; `hybridnas search` creates it"),
        (("quickstart", "--set", "budget.trials"), "--set takes KEY=VALUE with a dotted key, got"),
        (
            ("quickstart", "--set", "a..b=1"),
            "--set takes KEY=VALUE with a dotted key, got 'a..b=1'",
        ),
        (("quickstart", "--set", "budget=[1"), "--set budget: '[1' is not a YAML value"),
        (
            ("quickstart", "--set", "budgets.trials=1"),
            "quickstart with --set budgets.trials=1: unknown key 'budgets' (budget?); allowed:",
        ),
        (("quickstart", "--set", "fidelities.3.epochs=1"), "'3' is no index of a list of 1"),
        (("quickstart", "--ray", "127.0.0.1:1"), "no Ray head answers at '127.0.0.1:1'"),
        (
            ("quickstart", "--ray", "there"),
            "a Ray address is HOST:PORT of a head, auto or local, got",
        ),
        ((), "Missing argument 'STUDY'; see `hybridnas search --help`"),
    ],
)
def test_a_bad_search_is_refused_before_anything_is_written(
    cli: Cli, words: tuple[str, ...], message: str
) -> None:
    assert message in cli.refused("search", *words)


def test_a_ray_head_out_of_the_environment_is_looked_for_too(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "no Ray head answers at '127.0.0.1:1'" in cli.refused("search", "quickstart")


def test_a_resumed_study_cannot_change_what_makes_trials_comparable(populated: Cli) -> None:
    message = populated.refused("search", write_study(seed=1), "--resume")
    assert "study 'shapes' cannot be resumed with changed seed" in message
    assert "no study 'nope' in the database; it has: shapes, empty" in populated.refused(
        "search", "nope", "--resume"
    )
    assert "no study 'shape' (shapes?) in the database" in populated.refused("status", "shape")
    assert populated.refused("search", "shapes") == (
        "study 'shapes' is in the database: `hybridnas search shapes --resume` goes on"
    )
    assert "no study 'shape' (shapes?) in the database" in populated.refused("compare", "shape")
