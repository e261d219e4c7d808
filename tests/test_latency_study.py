"""latency_ms in a study: from its table, decided before training, kept with each trial."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import search_helpers
from cli_helpers import DATABASE, Cli, write_study
from dense_helpers import raw, write_data
from latency_helpers import known_latency, table_of
from search_helpers import LISTED, asked, drive, finish, optuna_trials, start

from hybridnas.cli.plot import plot_front
from hybridnas.config import parse_study
from hybridnas.errors import ConfigError, SpaceError
from hybridnas.profiling import load_table
from hybridnas.search.plan import Plan, feasibility, make_plan
from hybridnas.search.registration import check_registered
from hybridnas.search.searcher import StudySearcher
from hybridnas.search.view import StudyView
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

OBJECTIVES = {"top1": "maximize", "latency_ms": "minimize"}


@pytest.fixture(scope="session")
def table_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "listed.json"
    table_of(LISTED).save(path)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def plan_with(table: Path, **changes: Any) -> Plan:
    raw = {"space": LISTED, "latency": str(table), "objectives": OBJECTIVES, **changes}
    return make_plan(parse_study({**search_helpers.RAW, **raw}, "test"))


def test_no_candidate_breaks_a_limit_on_latency(store: Store, table_file: Path) -> None:
    limits = {"latency_ms": {"min": 1.0, "max": 2.0}}
    plan = plan_with(table_file, constraints=limits, budget={"trials": 12}, sampler="tpe")
    candidates = drive(start(plan, store))
    assert len(candidates) == 12
    for candidate in candidates:
        truth = known_latency(search_helpers.network(candidate))
        assert candidate.costs["latency_ms"] == pytest.approx(truth)
        assert 1.0 <= truth <= 2.0
    hard = feasibility(plan)
    below = hard.slacks({"latency_ms": 3.5})
    assert below == [1.5, -2.5]
    for trial in optuna_trials(store):
        architecture = next(
            search_helpers.network(c) for c in candidates if c.number == trial.number
        )
        assert trial.values[1] == pytest.approx(known_latency(architecture))


def test_a_limit_out_of_reach_is_said(table_file: Path) -> None:
    with pytest.raises(SpaceError, match=r"latency_ms must keep max 0.01, the space reaches 0\."):
        plan_with(table_file, constraints={"latency_ms": {"max": 0.01}})


def test_a_table_of_other_images_is_refused(table_file: Path) -> None:
    bigger = [{"epochs": 1, "resolution": 64}]
    with pytest.raises(ConfigError, match=r"measured at 32 px, the study's .* 64 px: .*size 64 "):
        plan_with(table_file, fidelities=bigger)


def test_a_dense_task_has_no_latency(table_file: Path, tmp_path: Path) -> None:
    data = write_data("segmentation", tmp_path / "data")
    found = parse_study(raw("segmentation", data, latency=str(table_file)), "test")
    with pytest.raises(ConfigError, match=r"times classifiers, the task is segmentation, whose"):
        make_plan(found)


def test_the_study_keeps_what_its_table_was(store: Store, table_file: Path, tmp_path: Path) -> None:
    plan = plan_with(table_file)
    _, sha = load_table(table_file)
    assert plan.config["latency"] == {
        "file": str(table_file),
        "sha256": sha,
        "setting": table_of(LISTED).setting.words,
    }
    finish(core := start(plan, store), asked(core))
    elsewhere = tmp_path / "moved.json"
    elsewhere.write_bytes(table_file.read_bytes())
    assert check_registered(plan_with(elsewhere), store, resume=True)
    other = tmp_path / "other.json"
    table_of(LISTED, seed=1).save(other)
    with pytest.raises(ConfigError, match="cannot be resumed with changed latency"):
        check_registered(plan_with(other), store, resume=True)
    kept = {**plan.config, "latency": {**plan.config["latency"], "file": str(other)}}
    with pytest.raises(ConfigError, match=r"other.json is another table \(sha256 .* began with"):
        make_plan(parse_study(kept, "the database"))


def test_latency_is_the_study_s_and_not_the_evaluation_s(
    store: Store, table_file: Path, tmp_path: Path
) -> None:
    """Two studies with tables of their own share evaluations, and keep their latencies."""
    first = start(plan_with(table_file), store)
    trained = drive(first)
    table = table_of(LISTED)
    twice = tmp_path / "twice.json"
    doubled = {"scale": 2 * table.scale, "offset_ms": 2 * table.offset_ms}
    table.model_copy(update=doubled).save(twice)
    second = start(plan_with(twice, name="second"), store)
    assert drive(second) == []  # the same proposals, all known
    ours, theirs = StudyView("shapes", store), StudyView("second", store)
    assert len(theirs.finished) == len(trained)
    for row, other in zip(ours.rows, theirs.rows, strict=True):
        assert row.architecture == other.architecture
        assert row.value("latency_ms") == pytest.approx(known_latency(row.architecture))
        assert other.value("latency_ms") == pytest.approx(2 * row.value("latency_ms"))


def test_workers_are_not_told_a_latency(store: Store, table_file: Path) -> None:
    """They write costs among an evaluation's metrics, which other studies look up."""
    core = start(plan_with(table_file), store)
    config = StudySearcher(core).suggest("first")
    assert set(config["costs"]) == {"macs", "params"}


@pytest.mark.parametrize(
    "changes", [{"objectives": OBJECTIVES}, {"constraints": {"latency_ms": {"max": 1}}}]
)
def test_latency_needs_a_table(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="latency_ms needs a table: latency: FILE, which"):
        parse_study({**search_helpers.RAW, **changes}, "test")


def test_the_plot_s_axis_says_the_setting(
    store: Store, table_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")  # text stays text
    drive(start(plan_with(table_file), store))
    plot_front(StudyView("shapes", store), tmp_path / "front.svg")
    drawn = (tmp_path / "front.svg").read_text()
    assert f"latency_ms ({table_of(LISTED).setting.words})" in drawn


def test_it_is_shown_where_latency_is(cli: Cli, table_file: Path) -> None:
    Path("t.json").write_bytes(table_file.read_bytes())
    name = write_study(space=LISTED, latency="t.json", objectives=OBJECTIVES)
    words = table_of(LISTED).setting.words
    assert f"latency {words}" in cli.shown("search", name, "--dry-run")
    assert cli.json("search", name, "--dry-run")["latency"]["setting"] == words
    with Store.open(f"sqlite:///{DATABASE}") as store:
        drive(start(plan_with(table_file), store))
    shown = cli.shown("pareto", "shapes")
    assert f"latency_ms: of one batch by table, {words}" in shown
    assert f"latency by table, {words}" in cli.shown("status", "shapes")
    assert cli.json("status", "shapes")["latency"]["setting"] == words
    best = cli.json("pareto", "shapes")[0]["values"]
    assert f"{best['latency_ms']:.3f}" in shown
    pytest.importorskip("matplotlib")
    cli("pareto", "shapes", "--plot", "front.svg")
    assert f"latency_ms ({words})" in Path("front.svg").read_text()


def test_a_table_that_is_none(cli: Cli) -> None:
    name = write_study(space=LISTED, latency="t.json", objectives=OBJECTIVES)
    Path("t.json").write_text("{}")
    assert "t.json is no table: 'space' is missing" in cli.refused("search", name)
