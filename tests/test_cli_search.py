"""The command that runs studies: `hybridnas search`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
import torch
from cli_helpers import DATABASE, Cli, write_study
from store_databases import NEWEST, NEXT

from hybridnas.cli.common import in_units
from hybridnas.errors import ConfigError
from hybridnas.search import driver
from hybridnas.search.asked import study_to_run
from hybridnas.search.core import SearchCore
from hybridnas.search.ladder import problem_of
from hybridnas.search.observer import Observer
from hybridnas.search.plan import Plan
from hybridnas.search.studies import read_study
from hybridnas.store import Store, engine, schema

pytest_plugins = ["cli_helpers"]


def search_without_ray(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Made-up results in place of Ray and training."""

    def run_study(
        plan: Plan,
        store: Store,
        *,
        ray_address: str | None,
        observer: Observer,
    ) -> str:
        store.put_study(plan.study.name, plan.config)
        helpers.drive(SearchCore(problem_of(plan), store, observer))
        return reason

    monkeypatch.setattr(driver, "run_study", run_study)


def test_search_prints_progress_the_front_and_the_next_steps(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_without_ray(monkeypatch, "trials")
    done = cli("search", write_study(recipe={"batch_size": 600}))
    assert done.code == 0
    assert done.err.count("each epoch leaves out") == 1
    assert "trial 5 started" in done.err
    assert "6 done of 6" in done.err
    assert "Pareto front of shapes: " in done.out
    assert "6 evaluated, 0 failed; the budget of trials is spent." in done.out
    commands = re.findall(r"^  (hybridnas .*?)  ", done.out, re.M)
    assert [command.split()[1] for command in commands] == [
        "report",
        "export",
        "pareto",
        *(["ablate"] if "ablate" in done.out else []),
        "dashboard",
    ]
    assert cli(*commands[0].split()[1:]).err == "written: shapes.html\n"
    Path("shapes.html").unlink()
    other = cli("search", "shapes.yaml", "--storage", "sqlite:///other.db")
    assert f"{commands[0]} --storage sqlite:///other.db  " in other.out
    Path("other.db").unlink()
    assert "is in the database already: go on with --resume" in cli.refused("search", "shapes.yaml")
    again = cli("search", "shapes", "--resume", "--set", "budget.trials=7")
    assert again.code == 0
    assert "6 of 6 trials were done before" in again.err, "its space has no more"
    assert "a new one begins" not in again.err
    mistaken = cli("search", "shapes.yaml", "--resume", "--set", "name=forms")
    assert mistaken.err.startswith(
        "sqlite:///hybridnas.db has no study 'forms' yet: a new one begi"
    )


def test_nothing_is_said_before_a_refusal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_study(*_: Any, **__: Any) -> str:
        raise ConfigError("no node can do that")

    monkeypatch.setattr(driver, "run_study", run_study)
    done = cli("search", write_study(recipe={"batch_size": 600}))
    assert (done.code, done.err) == (2, "error: no node can do that\n")


def test_search_as_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    search_without_ray(monkeypatch, "exhausted")
    found = cli.json("search", write_study())
    assert found["stopped"] == "exhausted"
    assert found["trials"] == {"ok": 6}
    assert found["front_size"] == len(found["front"]) > 0
    assert found["front"] == cli.json("pareto", "shapes")


def test_a_space_of_fewer_architectures_than_trials(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six: too few for a calibration, too."""
    search_without_ray(monkeypatch, "exhausted")
    done = cli(
        "search", write_study(sampler="grid", budget={"trials": 24}, recipe={"batch_size": 100})
    )
    assert "each epoch leaves out" not in done.err
    assert "1 done of 6" in done.err
    assert "of 24" not in done.err
    assert "proxy: not calibrated\n" in cli.shown("pareto", "shapes") + "\n"
    shown = cli("report", "shapes", "--out", "report.md")
    assert shown.code == 0
    assert "hybridnas calibrate" not in Path("report.md").read_text()


def test_what_was_changed_is_said_before_what_cannot_be_met(populated: Cli) -> None:
    limit = "constraints.macs.max=1"
    message = populated.refused("search", "shapes", "--resume", "--set", limit)
    assert message.startswith("study 'shapes' cannot be resumed with changed constraints: ")
    file = write_study(space="hybrid_small")
    message = populated.refused("search", file, "--resume", "--set", limit)
    assert message.startswith("study 'shapes' cannot be resumed with changed constraints, space: ")


def test_an_interrupted_search_ends_with_130(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    search_without_ray(monkeypatch, "interrupted")
    done = cli("search", write_study())
    assert done.code == 130
    assert "interrupted; go on with --resume." in done.out


def test_dry_run_says_what_would_run_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    shown = cli.shown("search", "quickstart", "--dry-run", "--set", "budget.hours=2")
    assert "quickstart would run (nothing was written)" in shown
    bound = read_study("quickstart").constraints.macs
    assert bound is not None
    assert re.search(rf"macs at most {in_units(bound.max)}; \d+ % of random draws", shown)
    assert "budget trials 24, hours 2" in shown
    found = cli.json("search", "quickstart", "--dry-run", "--resume")
    assert found["size"] > 1e9
    assert found["classes"] == 10
    assert found["budget"] == {"trials": 24}
    assert 0 < found["smallest_macs"] < found["median_macs"] < found["largest_macs"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="here a GPU counts them")
def test_gpu_hours_alone_are_refused_without_a_gpu(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_without_ray(monkeypatch, "trials")
    file = write_study(budget={"gpu_hours": 0.0005})
    for words in ([], ["--dry-run"]):
        message = cli.refused("search", file, *words)
        assert (
            "gpu_hours 0.0005 would never be spent: give budget.hours or budget.trials" in message
        )
    told = cli.shown("search", file, "--set", "budget.trials=2", "--dry-run")
    assert "each; without a GPU budget.gpu_hours does not count" in told
    assert "of GPU time" not in told
    assert "that of the cluster" in cli.shown("search", file, "--dry-run", "--ray", "auto")


def test_dry_run_takes_no_bad_database_for_a_new_one(
    populated: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RETRY_DELAYS_S", ())
    for words, url in (
        ("there is no folder", "sqlite:///no/x.db"),
        ("127.0.0.1:1", "postgresql+psycopg://u:p@127.0.0.1:1/x"),
    ):
        assert words in populated.refused("search", "quickstart", "--dry-run", "--storage", url)
    monkeypatch.setattr(schema, "revisions", lambda: [NEWEST, NEXT])
    for more in ([], ["--resume"]):
        message = populated.refused("search", "quickstart", "--dry-run", *more)
        assert f"this program needs {NEXT}; run: hybridnas db upgrade" in message
    new = ("--storage", "sqlite:///new.db")
    assert "database a new database (no " in populated.shown(
        "search", "quickstart", "--dry-run", *new
    )


def test_a_resumed_name_is_the_databases_study(populated: Cli) -> None:
    found = study_to_run("shapes", f"sqlite:///{DATABASE}", True, ["sampler=tpe"])
    assert isinstance(found.space, dict)
    assert (found.space["name"], found.sampler.name) == ("six", "tpe")


BAD_STUDIES: list[tuple[dict[str, Any], str]] = [
    ({"trials": 3}, r"shapes.yaml: unknown key 'trials'; allowed: task, recipe, fidelities"),
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
        ((".",), "no study '.': that is a folder, a YAML file is needed; one that is in the dat"),
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
    assert "no study 'shape' (shapes?) in the database" in populated.refused("compare", "shape")
