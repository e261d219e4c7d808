"""A study's YAML: strict in."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from pydantic import ValidationError

from hybridnas.config import Fidelity, Protocol, Recipe, Study, Task, parse_study
from hybridnas.errors import ConfigError
from hybridnas.objectives import BEST, CLOSED_FORM, OF_TRAINING, STANDARD_ERRORS
from hybridnas.strict_yaml import override
from hybridnas.study_parts import Constraints
from hybridnas.task_defaults import TASK_DEFAULTS

RAW: dict[str, Any] = {
    "name": "tiny",
    "space": "hybrid_small",
    "fidelities": [{"epochs": 2, "resolution": 32}],
    "budget": {"trials": 10},
}


def study(**changes: Any) -> Study:
    return parse_study({**RAW, **changes}, "tiny.yaml")


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in RAW.items() if k != key}


def test_what_a_study_leaves_out() -> None:
    plain = study()
    assert plain.objectives == {"top1": "maximize", "macs": "minimize"}
    assert (plain.task, plain.recipe, plain.sampler.name) == (Task(), Recipe(), "ehvi")
    assert plain.constraints.bounds() == {}
    assert plain.references is None
    assert plain.fidelity == Fidelity(epochs=2, resolution=32)


def test_everything_that_a_study_says_is_kept() -> None:
    full = study(
        description="d",
        task={"name": "classification", "data": "images", "max_corrupt": 0.5},
        recipe={"lr": "3e-4", "augmentation": {"scale": [0.5, 1], "mixup": 0.2}},
        objectives={"top5": "maximize", "params": "minimize"},
        constraints={"macs": {"max": "4.5e9"}, "params": {"min": 0, "max": 3e7}},
        sampler={"name": "nsga2", "population_size": 8},
        budget={"hours": 1.5, "gpu_hours": 3},
        resources={"concurrent": 2, "cpus": 0.5, "gpus": 0, "loader_workers": 0, "retries": 0},
        references=["mambaout_femto"],
        seed=3,
        artifacts="s3://bucket/x",
        keep_weights=0,
    )
    assert (full.task.data, full.task.max_corrupt) == ("images", 0.5)
    assert (full.recipe.lr, full.recipe.augmentation.scale) == (3e-4, (0.5, 1.0))
    bounds = full.constraints.bounds()
    assert (bounds["macs"].max, bounds["macs"].min) == (4.5e9, None)
    assert (bounds["params"].min, bounds["params"].max) == (0, 3e7)
    assert (full.sampler.name, full.sampler.population_size) == ("nsga2", 8)
    assert (full.budget.hours, full.budget.gpu_hours, full.budget.trials) == (1.5, 3, None)
    assert full.resources.gpus == 0
    assert full.references == ("mambaout_femto",)
    # Its JSON is what the database keeps.
    assert parse_study(json.loads(full.model_dump_json()), "again") == full


def test_a_name_alone_stands_for_a_task_or_a_sampler() -> None:
    assert study(sampler="nsga2") == study(sampler={"name": "nsga2"})
    assert study(task="classification") == study(task={"name": "classification"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"trails": 5},
            r"tiny.yaml: unknown key 'trails'; allowed: task, recipe, .*, name, ",
        ),
        ({"recipe": {"learning_rate": 1}}, r"'recipe.learning_rate'; allowed: batch_size, lr, lr_"),
        (
            {"recipe": {"augmentation": {"flip": 1}}},
            r"unknown key 'recipe.augmentation.flip' \(hflip\?\); allowed: scale, ratio, hflip",
        ),
        (
            {"fidelities": [{"epochs": 1, "resolution": 32, "images": 1}]},
            r"unknown key 'fidelities.0.images'; allowed: epochs, resolution, iterations, share$",
        ),
        (
            {"constraints": {"latency": {"max": 1}}},
            r"'constraints.latency' \(latency_ms\?\); allowed: macs, params, .*, train_hours$",
        ),
        (
            {"sampler": {"name": "tpe", "gamma": 1}},
            r"sampler: tpe has no option 'gamma'; allowed: startup_trials, seed",
        ),
        ({"name": "two words"}, r"tiny.yaml: name: must be of letters, digits, .*got 'two words'"),
        ({"name": "-x"}, r"name: must be of letters, digits"),
        ({"name": "x" * 101}, r"name: must have at most 100 characters"),
        ({"task": "tracking"}, r"task.name: .*'segmentation' or 'detection', got 'tracking'"),
        ({"task": {"head_width": 64}}, r"task: head_width is of segmentation and detection"),
        ({"task": "segmentation"}, r"task: segmentation needs data, a folder \(--set task.data="),
        (
            {"task": {"name": "segmentation", "data": "x"}, "objectives": {"top1": "maximize"}},
            r"segmentation measures miou, aacc, macc, loss, memory_mb, train_hours \(and counts lat"
            r"ency_ms, macs, params\); got top1$",
        ),
        (
            {"task": {"name": "detection", "data": "x"}, "objectives": {"macs": "minimize"}},
            r"name at least one that is scored \(box_ap, mask_ap, ",
        ),
        (
            {"task": {"max_corrupt": 2}},
            r"task.max_corrupt: must be less than or equal to 1",
        ),
        ({"recipe": {"lr": 0}}, r"recipe.lr: must be greater than 0, got 0"),
        ({"recipe": {"lr": "nan"}}, r"recipe.lr: must be a finite number, got 'nan'"),
        ({"recipe": {"lr": "fast"}}, r"recipe.lr: must be a number.*got 'fast'"),
        ({"recipe": {"batch_size": 1.5}}, r"recipe.batch_size: must be a whole number"),
        ({"recipe": {"augmentation": {"scale": [1]}}}, r"recipe.augmentation.scale.1' is missing"),
        ({"fidelities": []}, r"fidelities: .* at least 1 item, got \[\]"),
        ({"fidelities": RAW["fidelities"] * 2}, r"fidelities.1: a rung must cost more \(epochs x"),
        ({"fidelities": [{"epochs": 1}]}, r"'fidelities.0.resolution' is missing"),
        (
            {"fidelities": [{"epochs": 0, "resolution": 32}]},
            r"fidelities.0.epochs: must be",
        ),
        (
            {"objectives": {"speed": "maximize"}},
            r"classification measures top1, top5, .*; got speed",
        ),
        (
            {"objectives": {"macs": "minimize", "train_hours": "minimize"}},
            r"name at least one that is scored \(top1, top5, loss\)",
        ),
        ({"objectives": {}}, r"objectives: name at least one that is scored"),
        (
            {"task": {"name": "detection", "data": "x"}, "objectives": {"loss": "minimize"}},
            r"detection measures box_ap, .*; got loss",
        ),
        (
            {"constraints": {"miou": {"min": 0.3}}},
            r"constraints: classification measures top1, .*; got miou",
        ),
        ({"constraints": {"top1": {"min": 70}}}, r"constraints.top1.min: a share of 1, got 70"),
        ({"objectives": {"top1": "up"}}, r"objectives.top1: must be 'maximize' or 'mini"),
        (
            {"objectives": {"top1": "minimize"}},
            r"objectives.top1: got 'minimize', allowed is 'maximize'",
        ),
        ({"constraints": {"macs": {}}}, r"constraints.macs: give min, max or both"),
        (
            {"constraints": {"macs": {"min": 2, "max": 1}}},
            r"constraints.macs: min 2 is above max 1",
        ),
        ({"constraints": {"macs": {"max": "4.5 G"}}}, r"constraints.macs.max: .*got '4.5 G'"),
        (
            {"sampler": "cmaes"},
            r"sampler: no sampler 'cmaes'; allowed: .*tpe, .*, or any of Optuna",
        ),
        (
            {"sampler": {"name": "nsga2", "startup_trials": 5}},
            r"sampler: nsga2 has no option 'startup_trials'; allowed: population_size, seed "
            r"\(`--set sampler=nsga2` leaves another sampler's out\)",
        ),
        ({"sampler": {"name": "a:B", "n": 5}}, r"a:B has no option 'n'; allowed: options, seed"),
        ({"sampler": {"name": "evolution", "survival": "x"}}, r"survival: .*'age' or 'rank', got"),
        ({"budget": {}}, r"budget: give at least one of trials, hours, gpu_hours"),
        ({"budget": {"trials": True}}, r"budget.trials: no key here is true or false, got true"),
        ({"seed": -1}, r"seed: must be greater than or equal to 0, got -1"),
        ({"seed": 2**32}, r"seed: must be less than 4294967296, got 4294967296"),
        ({"sampler": {"seed": 2**32}}, r"sampler.seed: must be less than 4294967296"),
        ({"resources": {"gpus": 1.5}}, r"resources: gpus: above 1 whole ones, got 1.5"),
        ({"resources": {"gpus": "all"}}, r"resources.gpus: must be a number.*'all'"),
    ],
)
def test_a_wrong_study_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        study(**changes)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("budget.trials=ten", "budget.trials: must be a whole number, got 'ten'"),
        ("budget.trials=[3]", "budget.trials: must be a whole number, got [3]"),
        ("budget.trials=-3", "budget.trials: must be greater than 0, got -3"),
        ("budget=5", "budget: must be a mapping (keys: trials, hours, gpu_hours), got 5"),
        ("budget=", "budget: must be a mapping (keys: trials, hours, gpu_hours), got nothing"),
        ("constraints.macs=3e6", "constraints.macs: must be a mapping (keys: min, max), got '3e6'"),
        ("objectives=[top1]", "objectives: must be a mapping, got ['top1']"),
        ("fidelities={epochs: 1}", "fidelities: must be a list ([one, another]), got a mapping"),
        (
            "also.x=[]",
            "also.x: must be a mapping (keys: task, recipe, fidelities, constraints, init)",
        ),
        (
            "also.a b={}",
            "also.a b: must be of letters, digits, '_' and '-' (a study's name: '.', to",
        ),
        ("task.classes=cat", "task.classes: must be a list ([one, another]), got 'cat'"),
        ("task.classes=[cat]", "task.classes: must have at least 2 items, got ['cat']"),
        ("task.classes=[cat, 2]", "task.classes.1: must be text, got 2 (in quotes it is)"),
        ("name=", "name: must be text, got nothing"),
        ("space=5", "space: must be text or a mapping, got 5 (in quotes it is)"),
        ("task.name=classify", "'segmentation' or 'detection', got 'classify' (classification?)"),
        ("recipe.learning_rate=1", "unknown key 'recipe.learning_rate'; allowed: batch_size, lr, "),
        (
            "recipe.epochs=5",
            "unknown key 'recipe.epochs' (fidelities.0.epochs?); allowed: batch_size",
        ),
        ("recipe.mixup=1", "unknown key 'recipe.mixup' (recipe.augmentation.mixup?); allowed: "),
        ("lr=1", "unknown key 'lr' (recipe.lr?); allowed: task, "),
        ("task.str=1", "unknown key 'task.str'; allowed: name, data, "),
        ("budget.trails=1", "unknown key 'budget.trails' (trials?); allowed: trials, hours, "),
        ("sampler=tp", "sampler: no sampler 'tp' (tpe?); allowed: ehvi, "),
        ("sampler.startup_trial=3", "has no option 'startup_trial' (startup_trials?); allowed: "),
        ("objectives.mac=minimize", "x: objectives: classification measures top1, top5, loss, "),
        ("objectives.mac=minimize", "; got mac (macs?)"),
    ],
)
def test_a_mistake_is_told_in_words_of_yaml(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_study(override(RAW, [setting]), "x")


@pytest.mark.parametrize("key", RAW)
def test_what_a_study_must_say(key: str) -> None:
    with pytest.raises(ConfigError, match=f"^tiny.yaml: {key!r} is missing$"):
        parse_study(without(key), "tiny.yaml")


def test_all_findings_come_at_once() -> None:
    with pytest.raises(ConfigError, match=r"'budget' is missing; seed: .*; unknown key 'trails'"):
        parse_study({**without("budget"), "seed": -1, "trails": 1}, "x")


def test_settings_of_the_command_line_reach_the_study() -> None:
    settings = ["budget.trials=200", "constraints.macs.max=4.5e9", "task.data=DIR", "sampler=nsga2"]
    changed = parse_study(override(RAW, [*settings, "fidelities.0.epochs=7"]), "x")
    assert changed.budget.trials == 200
    assert changed.constraints.bounds()["macs"].max == 4.5e9
    assert (changed.task.data, changed.sampler.name, changed.fidelity.epochs) == ("DIR", "nsga2", 7)


def test_every_objective_has_a_best_direction() -> None:
    for task, known in TASK_DEFAULTS.items():
        given = {"name": task, "data": "x"}
        for name in (*known.scored, *OF_TRAINING, *CLOSED_FORM):
            objectives = {known.measures[0]: "maximize", name: BEST[name]}
            known_study = study(task=given, objectives=objectives, latency="table.json")
            assert known_study.objectives[name] == BEST[name]
            assert (BEST[name] == "maximize") == (name in known.measures)
    scored = {name for task in TASK_DEFAULTS.values() for name in task.scored}
    assert BEST.keys() == scored | CLOSED_FORM | {*OF_TRAINING} == Constraints.model_fields.keys()
    assert STANDARD_ERRORS.keys() <= BEST.keys()


def test_a_study_of_a_dense_task_needs_its_name_and_its_data_alone() -> None:
    found = study(task={"name": "segmentation", "data": "roads"})
    assert (found.task.train, found.task.val) == ("training", "validation")
    assert (found.objectives, found.measured) == ({"miou": "maximize", "macs": "minimize"}, "miou")
    assert found.recipe.label_smoothing == 0
    assert found.recipe.batch_size < Recipe().batch_size
    given = {"train": "a", "val": "b", "name": "detection", "data": "x"}
    other = study(
        task=given, recipe={"lr": 1.0, "batch_size": 3}, objectives={"mask_ap": "maximize"}
    )
    assert (other.task.train, other.task.val) == ("a", "b")
    assert (other.recipe.lr, other.recipe.batch_size, other.recipe.label_smoothing) == (1, 3, 0)
    assert other.measured == "mask_ap"
    assert study(task={"name": "detection", "data": "x"}).task.val == "val2017"
    assert parse_study(found.model_dump(mode="json"), "database") == found


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        study().recipe.lr = 1.0


def test_a_studys_protocol() -> None:
    protocol = study(seed=5, recipe={"lr": 0.1}).protocol("abc", ("cat", "dog"))
    assert protocol == Protocol(
        task=Task(),
        recipe=Recipe(lr=0.1),
        fidelity=Fidelity(epochs=2, resolution=32),
        seed=5,
        data_digest="abc",
        class_names=("cat", "dog"),
    )
