"""A study of two tasks from its YAML to its front: digits, and a tiny set of masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_helpers import Cli
from dense_helpers import RECIPE, SPACE, write_data

from hybridnas.config import Study, parse_study
from hybridnas.cost import cost, input_size
from hybridnas.errors import ConfigError, DataError
from hybridnas.search.ladder import problem_of
from hybridnas.search.plan import Plan, feasibility, make_plan
from hybridnas.search.studies import read_study
from hybridnas.store import Place, Store

pytest_plugins = ["cli_helpers"]


def raw(masks: Path | str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "both",
        "space": SPACE,
        "task": "classification",
        "recipe": {"batch_size": 64},
        "fidelities": [{"epochs": 1, "resolution": 32}],
        "also": {
            "masks": {
                "task": {"name": "segmentation", "data": str(masks), "head_width": 8},
                "recipe": RECIPE,
                "fidelities": [{"epochs": 1, "resolution": 64}],
            }
        },
        "objectives": {"top1": "maximize", "masks.miou": "maximize", "masks.macs": "minimize"},
        "sampler": "random",
        "budget": {"trials": 2},
        **changes,
    }


def changed(masks: Path | str = "m", **other: Any) -> dict[str, Any]:
    """With another setting of the second task."""
    study = raw(masks)
    study["also"]["masks"] |= other
    return study


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    return write_data("segmentation", tmp_path / "masks")


@pytest.fixture
def plan(masks: Path) -> Plan:
    return make_plan(read_study(raw(masks)))


@pytest.mark.parametrize(
    ("study", "message"),
    [
        (raw("m", objectives={"top1": "maximize"}), r"at least one that is scored \(masks\.miou, "),
        (
            raw("m", objectives={"top1": "maximize", "mask.miou": "maximize"}),
            r"objectives\.mask\.miou: also has no task 'mask'; it has: masks$",
        ),
        (
            raw("m", objectives={"masks.top1": "maximize", "top1": "maximize"}),
            r"segmentation measures miou, .*; got top1",
        ),
        (
            raw("m", objectives={"masks.miou": "minimize", "top1": "maximize"}),
            r"objectives\.masks\.miou: got 'minimize', allowed is 'maximize'",
        ),
        (
            changed(fidelities=[{"epochs": n, "resolution": 64} for n in (1, 2)]),
            r"also\.masks\.fidelities: as many rungs as the study's own task has \(1\), got 2",
        ),
        (
            changed(constraints={"latency_ms": {"max": 3}}),
            r"masks\.latency_ms: latency_ms is of the study's own task only",
        ),
        (changed(constraints={"top1": {"min": 0.1}}), r"constraints: segmentation measures"),
        (changed(constraints={"miou": {"min": 3}}), r"constraints\.miou\.min: a share of 1, got 3"),
        (
            changed(epochs=3),
            r"key 'also\.masks\.epochs' \(also\.masks\.fidelities\.0\.epochs\?\); allowed: ",
        ),
        (raw("m", also={"a.b": raw("m")["also"]["masks"]}), r"also\.a\.b: must be of letters"),
    ],
)
def test_what_a_study_of_two_tasks_is_refused_for(study: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_study(study, "both")


def test_the_database_keeps_all_of_it() -> None:
    study = parse_study(changed(constraints={"miou": {"min": 0.2}, "macs": {"max": 1e9}}), "both")
    assert parse_study(json.loads(study.model_dump_json()), "again") == study
    assert study.also["masks"].recipe.batch_size == 2
    assert (study.bounds()["masks.macs"].max, study.soft()["masks.miou"].min) == (1e9, 0.2)
    alone = study.alone("masks")
    assert Study.model_validate(alone.model_dump()) == alone
    assert (alone.measured, alone.task.name) == ("miou", "segmentation")


def test_costs_are_counted_for_both(plan: Plan) -> None:
    hard = feasibility(plan)
    genome = {name: values[0] for name, values in plan.space.genes.items()}
    architecture = plan.space.decode(genome)
    own = cost(architecture, (32, 32), num_classes=10)
    other = cost(architecture, input_size("segmentation", 64), "segmentation", 3, head_width=8)
    assert hard.cost_of(genome) == {
        "macs": own.macs,
        "params": own.params,
        "masks.macs": other.macs,
        "masks.params": other.params,
    }
    recorded = problem_of(plan).recorded_costs(genome, hard.cost_of(genome), Place(task="masks"))
    assert recorded == {"macs": other.macs, "params": other.params}


def test_a_fault_of_the_second_task_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^also\.masks: task\.data: .*nowhere does not exist"):
        make_plan(read_study(raw(tmp_path / "nowhere")))


@pytest.mark.slow
def test_a_search_on_both(masks: Path, cli: Cli) -> None:
    Path("both.yaml").write_text(yaml.safe_dump(raw(masks)), encoding="utf-8")
    assert "also masks" in cli.shown("search", "both.yaml", "--dry-run")
    shown = cli.shown("search", "both.yaml")
    assert "masks.miou" in shown
    front = cli.json("pareto", "both")
    best = max(front, key=lambda member: member["values"]["top1"])
    assert best["values"].keys() == {"top1", "masks.miou", "masks.macs"}
    with Store.open("sqlite:///hybridnas.db", create=False) as store:
        trials = store.trials("both")
    assert [[(r.task, r.reused) for r in t.runs] for t in trials] == [
        [("", False), ("masks", False)]
    ] * 2
    for member in front:
        own, other = (run.evaluation for run in trials[member["trial"]].runs)
        assert own
        assert other
        assert member["values"]["top1"] == own.metrics["top1"]
        assert member["values"]["masks.miou"] == other.metrics["miou"]
        assert member["values"]["masks.macs"] == other.metrics["macs"]
    status = cli.shown("status", "both")
    assert "masks, " in status
    assert cli.json("status", "both")["rungs"][0]["also"]["masks"]["ok"] == 2
    refused = cli.refused("search", "both.yaml", "--resume", "--set", "also.masks.recipe.lr=0.1")
    assert "cannot be resumed with changed also" in refused
    cli.shown("search", "both.yaml", "--resume", "--set", "budget.trials=3")
    cli.shown("export", f"both:{best['trial']}", "--out", "model")
    config = json.loads(Path("model/config.json").read_text(encoding="utf-8"))
    assert config["num_classes"] == 10, "of the study's own task"
