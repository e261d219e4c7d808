"""What the page gets to see of a study besides Optuna's tables, and that nothing is written."""

from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import ablation_helpers as twins
import optuna
import pytest
import search_helpers as helpers
from dashboard_helpers import LEAST, ask, finish, searched
from sqlalchemy import text
from table_helpers import begin

from hybridnas.ablate import read_ablations
from hybridnas.ablate.words import sentence
from hybridnas.cost import cost
from hybridnas.dashboard import content
from hybridnas.dashboard.guard import Guard
from hybridnas.dashboard.server import Page
from hybridnas.search.core import SearchCore
from hybridnas.search.view import StudyView
from hybridnas.search.volume import reference_point
from hybridnas.store import Store

OPEN = {"budget": {"trials": 40}}


class Shown:
    """A study of which everything has ended, on the page."""

    def __init__(self, store: Store, **changes: Any) -> None:
        self.store = store
        self.core: SearchCore = searched(store, **changes)
        self.app = Page(store)

    @property
    def view(self) -> StudyView:
        return StudyView("shapes", self.store)

    def study(self, study_id: int = 1) -> Any:
        return ask(self.app, f"/api/studies/{study_id}").document

    def file(self, trial: Any, name: str) -> tuple[str, str]:
        """One of a trial's files and its kind."""
        (found,) = (a for a in trial["artifacts"] if a["filename"] == name)
        path = f"/artifacts/1/{trial['trial_id']}/{found['artifact_id']}"
        answer = ask(self.app, path)
        assert answer.status == 200
        return answer.body.decode(), answer.headers["Content-Type"]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    folder = tmp_path_factory.mktemp("page")
    with Store.open(f"sqlite:///{folder / 'studies.db'}") as store:
        yield Shown(store)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study is read before it is shown, however busy the machine."""
    monkeypatch.setattr(content, "_PATIENCE_S", 60.0)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is looked at every time, not every few seconds."""
    monkeypatch.setattr("optuna_dashboard._storage.timedelta", lambda seconds: timedelta(0))
    monkeypatch.setattr(content, "_PAUSE_S", -1.0)
    monkeypatch.setattr(content, "_SHARE", -1.0)


def test_the_note_has_the_front_with_links(shown: Shown) -> None:
    note = shown.study()["note"]["body"]
    for row in shown.view.front():
        line = (
            f"[{row.number}](/dashboard/studies/1/trials?numbers={row.number})",
            f"{row.value('top1'):.4f} ± 0.0100",
            f"`{row.architecture.short}`",
        )
        assert any(all(word in found for word in line) for found in note.splitlines())
    assert note.count("/trials?numbers=") == len(shown.view.front())
    assert "\nScores ± their standard error.\n" in note
    counts = shown.view.counts()
    assert f"**trials**: 30 ({', '.join(f'{n} {state}' for state, n in counts.items())})" in note
    assert f"top1 at least {LEAST:.4f}" in note
    low = reference_point([shown.view])["top1"]
    assert (
        f"hypervolume** of the front: {shown.view.hypervolume():.4f} of the box from top1 "
        f"{low:.4f}, macs 10.0 M (reference point) to top1 1.0000, macs 0\n"
    ) in note
    assert "- out_of_memory: 1" in note
    assert f"hybridnas export shapes:{shown.view.best(1)[0].number} --out" in note


def test_best_trials_are_the_front_and_keep_their_constraints(shown: Shown) -> None:
    found = shown.study()
    best = found["best_trials"]
    assert [trial["number"] for trial in best] == sorted(row.number for row in shown.view.front())
    assert all(max(trial["constraints"]) <= 0 for trial in best)
    done = [trial for trial in found["trials"] if trial["state"] == "Complete"]
    broken = {t["number"] for t in done if max(t["constraints"]) > 0}
    assert broken == {row.number for row in shown.view.finished if row.value("top1") < LEAST}
    assert broken
    study = optuna.load_study(study_name="shapes", storage=shown.store.optuna_storage())
    assert {t.number for t in study.best_trials} == {trial["number"] for trial in best}


def test_after_a_retraining_the_front_is_the_retrained_ones(study_store: Store) -> None:
    shown = Shown(study_store, final={"retrain": 3, "seeds": 2})
    found = shown.study()
    front = shown.view.front()
    assert {trial["number"] for trial in found["best_trials"]} == {row.number for row in front}
    assert "Of 3 that were trained again: means over fresh seeds" in found["note"]["body"]
    assert (
        "hypervolume** of the front (fresh seeds; the plot is of the scores that the search chose "
        f"by): {shown.view.hypervolume():.4f} of the box" in found["note"]["body"]
    )
    drawn = next(p for p in found["plotly_graph_objects"] if p["id"] == "hypervolume")
    assert (
        "Hypervolume of the search from top1 "
        in json.loads(drawn["graph_object"])["layout"]["title"]["text"]
    )
    assert "Scores ± their standard deviation between fresh seeds." in found["note"]["body"]
    noted = [trial for trial in found["trials"] if trial["note"]["body"]]
    assert {trial["number"] for trial in noted} == {row.number for row in front}
    body = noted[0]["note"]["body"]
    assert "(± is the standard deviation between fresh seeds)" in body
    assert "3 epochs at 32 px, seed 2" in body
    for artifact in noted[0]["artifacts"]:
        address = f"![](/artifacts/1/{noted[0]['trial_id']}/{artifact['artifact_id']})"
        assert (address in body) == artifact["filename"].endswith(".svg")


def test_plots_are_there(shown: Shown) -> None:
    listed = shown.study()["plotly_graph_objects"]
    plots = {plot["id"]: json.loads(plot["graph_object"]) for plot in listed}
    assert set(plots) == {"front", "hypervolume", "front_by_stage"}
    assert all({"data", "layout"} <= plot.keys() for plot in plots.values())


@pytest.mark.usefixtures("eager")
def test_twin_tests_stand_in_the_note_once_they_are_made(study_store: Store) -> None:
    shown = Shown(study_store)
    assert "Twin tests" not in shown.study()["note"]["body"]
    work = twins.begin(study_store, twins.set_up_of())  # of trial 17
    for made in range(2):
        if made:
            twins.drive(work)
        shown.study()
        shown.app.storage.finish()
        found = shown.study()
        shown.app.storage.finish()
        plots = {plot["id"]: plot["graph_object"] for plot in found["plotly_graph_objects"]}
        assert ("twins_top1" in plots) == ("### Twin tests" in found["note"]["body"]) == bool(made)
    (ablation,) = read_ablations(study_store, "shapes")
    for comparison in ablation.comparisons:
        said = sentence(comparison, "top1")
        line = f"- [trial 17](/dashboard/studies/1/trials?numbers=17), {said}"
        assert line in found["note"]["body"].splitlines()
        assert said in plots["twins_top1"]


def test_every_trial_has_its_files(shown: Shown) -> None:
    trials = shown.study()["trials"]
    for trial, row in zip(trials, shown.view.rows, strict=True):
        picture, kind = shown.file(trial, "architecture.svg")
        assert kind == "image/svg+xml"
        title = ET.fromstring(picture).findtext("{http://www.w3.org/2000/svg}title") or ""
        assert title.startswith(f"shapes:{row.number}: {row.architecture.short}, ")
        table, kind = shown.file(trial, "stages.csv")
        assert kind == "text/csv"
        names, *lines = csv.reader(table.splitlines())
        known = cost(row.architecture, 32, num_classes=10)
        assert [line[names.index("tokens")] for line in lines[1:-2]] == [
            str(stage.tokens) for stage in known.stages
        ]
        assert lines[-1][names.index("share")] == "100.0 %"
    training, _ = shown.file(trials[2], "training.svg")
    assert "failed (out_of_memory)" in training
    assert ">no room<" in training
    best = shown.view.front()[0]
    training, _ = shown.file(trials[best.number], "training.svg")
    assert f"3 epochs at 32 px: top1 {best.value('top1'):.4f}<" in training
    broken = next(row for row in shown.view.finished if row.value("top1") < LEAST)
    training, _ = shown.file(trials[broken.number], "training.svg")
    assert f"breaks top1 at least {LEAST:.4f}" in training


@pytest.mark.parametrize("artifact", ["1-0-3", "1-ff-0", "2-0-0", "1-0", "abc"])
def test_files_that_there_are_not(shown: Shown, artifact: str) -> None:
    shown.study()
    assert ask(shown.app, f"/artifacts/1/1/{artifact}").status == 404


def test_nothing_is_written(shown: Shown) -> None:
    def everything() -> str:
        with shown.store.optuna_storage().engine.connect() as connection:
            tables = connection.execute(text("SELECT name FROM sqlite_master WHERE type='table'"))
            rows = [[*connection.execute(text(f"SELECT * FROM {name}"))] for (name,) in tables]
            return str(rows)

    before = everything()
    found = shown.study()
    shown.file(found["trials"][0], "architecture.svg")
    ask(shown.app, "/api/studies/1/param_importances")
    assert everything() == before


def test_a_note_of_ones_own_takes_the_place_of_ours(study_store: Store) -> None:
    shown = Shown(study_store)
    found = shown.study()
    assert found["note"]["version"] == 0
    on_front = found["best_trials"][0]
    for path in ("/api/studies/1/note", f"/api/studies/1/{on_front['trial_id']}/note"):
        words = "mine: " + "x" * 5000  # more than one attribute holds
        for version, body in ((1, words), (2, "short"), (3, "")):
            sent = {"version": version, "body": body}
            assert ask(Guard(shown.app), path, method="PUT", body=sent).status == 204
            now = shown.study()
            of_trial = next(t for t in now["trials"] if t["number"] == on_front["number"])
            note = now["note"] if path.endswith("1/note") else of_trial["note"]
            ours = found["note"] if path.endswith("1/note") else on_front["note"]
            assert note == {"version": version, "body": body or ours["body"]}


@pytest.mark.usefixtures("eager")
def test_a_running_search_is_followed(study_store: Store) -> None:
    core = helpers.start(helpers.plan(budget={"trials": 6}), study_store)
    app = Page(study_store)

    def look() -> Any:
        ask(app, "/api/studies/1")
        app.storage.finish()
        return ask(app, "/api/studies/1").document

    assert "No result yet." in look()["note"]["body"]
    for number in range(3):
        finish(core, helpers.asked(core))
        assert f"**trials**: {number + 1} ({number + 1} ok)" in look()["note"]["body"]
    candidate = helpers.asked(core)
    found = look()
    assert "**trials**: 4 (3 ok, 1 queued)" in found["note"]["body"]
    assert len(found["trials"][3]["artifacts"]) == 3
    finish(core, candidate)
    found = look()
    front = {row.number for row in StudyView("shapes", study_store).front()}
    assert {trial["number"] for trial in found["best_trials"]} == front
    app.storage.finish()


def test_what_has_no_architectures_is_shown_as_optuna_has_it(study_store: Store) -> None:
    begin(study_store).ask()  # a search of a table
    other = optuna.create_study(
        study_name="other", storage=study_store.optuna_storage(), directions=["minimize"] * 2
    )
    infeasible = optuna.create_trial(values=[0, 0], system_attrs={"constraints": [1.0]})
    other.add_trials([infeasible, optuna.create_trial(values=[1, 1])])
    app = Page(study_store)
    studies = ask(app, "/api/studies").document["study_summaries"]
    for study in studies:
        found = ask(app, f"/api/studies/{study['study_id']}").document
        assert (found["note"]["body"], found["plotly_graph_objects"]) == ("", [])
        if study["study_name"] == "other":
            assert [trial["artifacts"] for trial in found["trials"]] == [[], []]
            assert [trial["number"] for trial in found["best_trials"]] == [1]
    assert ask(app, "/api/studies/99").status == 404
