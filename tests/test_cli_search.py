"""The commands that run and read studies."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers
from cli_helpers import DATABASE, Cli, write_study

from hybridnas.cli.common import in_units
from hybridnas.cli.resolve import study_to_run
from hybridnas.search import driver
from hybridnas.search.core import SearchCore
from hybridnas.search.ladder import problem_of
from hybridnas.search.observer import Observer
from hybridnas.search.plan import Plan, register
from hybridnas.search.studies import read_study
from hybridnas.store import Store, engine, schema

pytest_plugins = ["cli_helpers"]


def search_without_ray(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Made-up results in place of Ray and training."""

    def run_study(
        plan: Plan,
        store: Store,
        *,
        resume: bool,
        ray_address: str | None,
        observer: Observer,
    ) -> str:
        register(plan, store, resume)
        helpers.drive(SearchCore(problem_of(plan), store, observer))
        return reason

    monkeypatch.setattr(driver, "run_study", run_study)


# ---------------------------------------------------------------- search


def test_search_prints_progress_the_front_and_the_next_steps(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_without_ray(monkeypatch, "trials")
    done = cli("search", write_study())
    assert done.code == 0
    assert "trial 5 started" in done.err
    assert "6 done of 6" in done.err
    assert "Pareto front of shapes: " in done.out
    assert "6 evaluated, 0 failed; the budget of trials is spent." in done.out
    assert "hybridnas export shapes:" in done.out
    assert "is in the database already: go on with --resume" in cli.refused("search", "shapes.yaml")
    again = cli("search", "shapes", "--resume", "--set", "budget.trials=7")
    assert again.code == 0
    assert "6 trials were done before of 7" in again.err


def test_search_as_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    search_without_ray(monkeypatch, "exhausted")
    found = cli.json("search", write_study())
    assert found["stopped"] == "exhausted"
    assert found["trials"] == {"ok": 6}
    assert found["front_size"] == len(found["front"]) > 0
    assert found["front"] == cli.json("pareto", "shapes")


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
    assert 0 < found["smallest_macs"] < found["median_macs"]
    assert list(tmp_path.iterdir()) == []


def test_dry_run_takes_no_bad_database_for_a_new_one(
    populated: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RETRY_DELAYS_S", ())
    for words, url in (
        ("there is no folder", "sqlite:///no/x.db"),
        ("127.0.0.1:1", "postgresql+psycopg://u:p@127.0.0.1:1/x"),
    ):
        assert words in populated.refused("search", "quickstart", "--dry-run", "--storage", url)
    monkeypatch.setattr(schema, "revisions", lambda: ["0001", "0002", "0003", "0004"])
    for more in ([], ["--resume"]):
        message = populated.refused("search", "quickstart", "--dry-run", *more)
        assert "this program needs 0004; run: hybridnas db upgrade" in message
    new = ("--storage", "sqlite:///new.db")
    assert "database a new database (no " in populated.shown(
        "search", "quickstart", "--dry-run", *new
    )


def test_a_resumed_name_is_the_databases_study(populated: Cli) -> None:
    found = study_to_run("shapes", f"sqlite:///{DATABASE}", True, ["sampler=tpe"])
    assert isinstance(found.space, dict)
    assert (found.space["name"], found.sampler.name) == ("six", "tpe")


BAD_STUDIES: list[tuple[dict[str, Any], str]] = [
    ({"trials": 3}, r"shapes.yaml: unknown key 'trials'; allowed: name, description, space"),
    ({"budget": {"trails": 3}}, r"unknown key 'budget.trails'; allowed: trials, hours, gpu_hours"),
    ({"space": {**helpers.SIX, "widths": 3}}, r"unknown key 'widths'; allowed: name, "),
    ({"space": "hybrid_smal"}, r"no search space 'hybrid_smal': .*hybrid_small"),
    ({"references": ["mambaout_tinny"]}, r"unknown reference architecture 'mambaout_tinny'; known"),
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
            "no study 'nope': it is neither a file nor one of the shipped ones (detection, ",
        ),
        (("nope", "--resume"), f"/{DATABASE}; `hybridnas search` creates it"),
        (("quickstart", "--set", "budget.trials"), "--set takes KEY=VALUE with a dotted key, got"),
        (
            ("quickstart", "--set", "a..b=1"),
            "--set takes KEY=VALUE with a dotted key, got 'a..b=1'",
        ),
        (("quickstart", "--set", "budget=[1"), "--set budget: '[1' is not a YAML value"),
        (("quickstart", "--set", "budgets.trials=1"), "unknown key 'budgets'; allowed: name"),
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
    assert "study 'shapes' cannot be resumed with another seed" in message
    assert "no study 'nope' in the database; it has: shapes, empty" in populated.refused(
        "search", "nope", "--resume"
    )


# ---------------------------------------------------------------- status


def test_status(populated: Cli) -> None:
    found = populated.json("status", "shapes")
    assert found["trials"] == {"ok": 3, "failed": 1, "running": 1, "queued": 1}
    assert (found["running"], found["queued"]) == ([4], [5])
    assert found["failures"] == {"out_of_memory": 1}
    assert found["redrawn_share"] == 0.25
    assert found["best"]["values"].keys() == {"top1", "macs"}
    assert found["fidelity"] == {"epochs": 1, "resolution": 32}
    assert found["cost"]["gpu_hours"] == pytest.approx(4 / 60)
    assert found["sessions"][0]["ended"] is None
    assert found == {**populated.json("status", write_study()), "sessions": found["sessions"]}

    shown = populated.shown("status", "shapes")
    assert "trials 6: 3 ok, 1 failed, 1 running, 1 queued" in shown
    assert "running trial 4\nqueued trial 5\nproposals 8, 25 % redrawn" in shown
    assert "failures 1 out_of_memory" in shown


def test_status_of_an_empty_study(populated: Cli) -> None:
    found = populated.json("status", "empty")
    assert (found["trials"], found["best"], found["hypervolume"]) == ({}, None, None)
    assert "trials 0: none" in populated.shown("status", "empty")
    assert "best no result yet" in populated.shown("status", "empty")


# ---------------------------------------------------------------- pareto


def test_pareto(populated: Cli) -> None:
    found = populated.json("pareto", "shapes")
    known = {"trial", "arch", "values", "params", "top1_se", "stages"}
    assert found[0].keys() == known | {"seeds", "spread", "reused"}
    macs = [member["values"]["macs"] for member in found]
    top1 = [member["values"]["top1"] for member in found]
    assert macs == sorted(macs)
    assert top1 == sorted(top1)

    table = list(csv.DictReader(io.StringIO(populated("pareto", "shapes", "--csv").out)))
    assert [int(line["trial"]) for line in table] == [member["trial"] for member in found]
    assert [float(line["macs"]) for line in table] == macs

    shown = populated.shown("pareto", "shapes")
    assert f"Pareto front of shapes: {len(found)} of 3 results, MACs at 32 px" in shown
    assert f"│ {found[0]['trial']} │ {top1[0]:.4f} │ 0.0123 │ " in shown


def test_a_study_without_results_has_no_front(populated: Cli) -> None:
    assert populated.json("pareto", "empty") == []
    shown = populated.shown("pareto", "empty")
    assert shown == "Study empty has no results yet; its trials: none."
    assert "study 'empty' has no results yet" in populated.refused(
        "pareto", "empty", "--plot", "front.svg"
    )


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_a_plot_of_the_front(populated: Cli, suffix: str) -> None:
    pytest.importorskip("matplotlib")
    done = populated("pareto", "shapes", "--json", "--plot", f"front.{suffix}")
    assert (done.code, done.err) == (0, f"written: front.{suffix}\n")
    assert Path(f"front.{suffix}").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("shapes", "--plot", "front.jpg"),
            "--plot takes a file in .svg, .png, .pdf, got 'front.jpg'",
        ),
        (("shapes", "--plot", "no/front.svg"), "--plot: no/front.svg cannot be written (No such"),
        (("shapes", "--json", "--csv"), "give --json or --csv, not both"),
        (("shape",), "no study 'shape' in the database; it has: shapes, empty"),
        (("shape.yaml",), "no file shape.yaml"),
    ],
)
def test_a_bad_pareto_is_refused(populated: Cli, words: tuple[str, ...], message: str) -> None:
    assert message in populated.refused("pareto", *words)


def test_a_study_file_needs_a_name(populated: Cli) -> None:
    Path("nameless.yaml").write_text("space: hybrid\n")
    assert "nameless.yaml: 'name' is missing" in populated.refused("status", "nameless.yaml")
