"""Studies renamed and deleted, in all kinds of databases."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from cli_helpers import DATABASE, Cli
from search_helpers import FAILED, LISTED, asked, drive, optuna_trials, plan, start
from store_studies import WIDE, essence, fill, of_optuna, rows

from hybridnas.errors import StoreError
from hybridnas.search import weights
from hybridnas.store import Store, StudyContents

pytest_plugins = ["store_databases", "cli_helpers"]

KEPT = {"nas_architecture", "nas_protocol", "nas_evaluation"}  # of all studies


def test_a_renamed_study_is_the_same(url: str) -> None:
    with Store.open(url) as store:
        fill(store)
        digest = store.trials("shapes")[0].protocol_digest
        store.begin_calibration("shapes", digest, digest, {})
        before, mine, theirs = rows(store), essence(store, "shapes"), of_optuna(store, "shapes")
        other = essence(store, "second")
        store.rename_studies({"shapes": "forms"})
        assert store.study_names() == ["forms", "second"], "as old as it was"
        assert store.study_config("forms") == {**plan(**WIDE).config, "name": "forms"}
        assert (essence(store, "forms"), of_optuna(store, "forms")) == (mine, theirs)
        assert (essence(store, "second"), essence(store, "shapes")) == (other, [])
        assert rows(store) == before
        assert len(store.sessions("forms")) == len(store.fronts("forms")) == 1
        assert len(store.calibrations(study="forms")) == 1
        more = start(plan(name="forms", **{**WIDE, "budget": {"trials": 7}}), store)
        assert [c.number for c in drive(more)] == [5, 6], "it goes on"


def test_all_are_renamed_or_none(url: str) -> None:
    with Store.open(url) as store:
        fill(store)
        with pytest.raises(StoreError, match="no study 'x'"):
            store.rename_studies({"shapes": "forms", "x": "y"})
        assert store.study_names() == ["shapes", "second"]
        store.rename_studies({"shapes": "forms", "second": "third"})
        assert store.study_names() == ["forms", "third"]


def test_a_name_that_is_taken_is_refused(url: str) -> None:
    with Store.open(url) as store:
        fill(store)
        optuna.create_study(study_name="else", storage=store.optuna_storage())
        for taken in ("second", "shapes", "else"):
            with pytest.raises(StoreError, match=f"^there is a study '{taken}' already$"):
                store.rename_studies({"shapes": taken})
        with pytest.raises(StoreError, match="no study 'x' in the database; it holds: shapes, sec"):
            store.rename_studies({"x": "y"})


def test_a_deleted_study_takes_only_its_own_along(url: str) -> None:
    with Store.open(url) as store:
        fill(store)  # the second study reuses four of the first one's five evaluations
        mine, theirs = essence(store, "second"), of_optuna(store, "second")
        found = store.study_contents(["shapes"])
        assert (found.trials, found.evaluations, found.shared_evaluations) == (5, 1, 4)
        assert store.delete_studies(["shapes"]) == found
        assert (essence(store, "second"), of_optuna(store, "second")) == (mine, theirs)
        assert store.study_names() == ["second"]
        with pytest.raises(KeyError):
            optuna.load_study(study_name="shapes", storage=store.optuna_storage())
        assert rows(store)["nas_evaluation"] == 4
        store.delete_studies(["second"])
        left = {name: number for name, number in rows(store).items() if number}
        assert left.keys() <= KEPT - {"nas_evaluation"}
        drive(start(plan(**WIDE), store))
        assert len(optuna_trials(store, "shapes")) == 5, "a new one of that name begins anew"


def test_trials_without_any_result_go_and_others_stay(url: str) -> None:
    with Store.open(url) as store:
        fill(store)
        for work in range(2):
            asked(start(plan(name="begun", **{**WIDE, "seed": 5}), store))
            assert len(store.trials("begun")) == len(optuna_trials(store, "begun")) == 1, work
            store.remove_begun("begun")
            assert store.trials("begun") == []
            names = optuna.get_all_study_names(store.optuna_storage())
            assert sorted(names) == ["second", "shapes"]
        before = rows(store)
        for name in ("shapes", "second"):
            store.remove_begun(name)
        assert rows(store) == before
        assert "begun" in store.study_names()


def give_up(store: Store, study: str) -> int:
    """The study's first trial is told as failed, its node was lost, and it ends well elsewhere; the
    id of the evaluation that no run refers to."""
    trial = store.trials(study)[0]
    again = study, trial.number, trial.architecture_digest, trial.protocol_digest
    known = trial.evaluation
    assert known is not None
    first = store.record(store.lease(*again), replace(known, **FAILED))
    store.record(store.lease(*again), known)
    assert first is not None
    return first


def test_attempts_that_were_given_up_go_with_their_study(url: str) -> None:
    with Store.open(url) as store:
        drive(start(plan(**WIDE), store))
        drive(start(plan(name="apart", **{**WIDE, "seed": 5}), store))
        first, other = give_up(store, "shapes"), give_up(store, "apart")
        found = store.study_contents(["shapes"])
        assert (found.evaluations, found.shared_evaluations) == (5 + 2, 0)
        assert store.delete_studies(["shapes"]) == found
        assert (store.evaluation(first), rows(store)["nas_evaluation"]) == (None, 5 + 2)
        assert store.evaluation(other) is not None
        store.delete_studies(["apart"])
        assert rows(store)["nas_evaluation"] == 0


def test_attempts_at_what_another_study_has_trained_too_stay(url: str) -> None:
    with Store.open(url) as store:
        fill(store)
        first = give_up(store, "shapes")
        store.delete_studies(["shapes"])
        kept = store.evaluation(first)
        assert kept is not None
        assert kept.architecture_digest in {t.architecture_digest for t in store.trials("second")}


def test_scores_can_be_kept_for_look_ups(url: str) -> None:
    with Store.open(url) as store:
        drive(start(plan(**WIDE), store))
        number = store.trials("shapes")[0].evaluation
        assert number
        assert number.id
        store.set_weights(number.id, {"path": "/nowhere/a", "sha256": "0"})
        gone = store.delete_studies(["shapes"], keep_evaluations=True)
        assert gone == StudyContents(
            trials=5,
            evaluations=5,
            shared_evaluations=0,
            weights=({"path": "/nowhere/a", "sha256": "0"},),
        )
        assert store.evaluation(number.id) == replace(number, weights=None)
        assert drive(start(plan(name="next", **WIDE), store)) == []


def test_what_is_searched_stays(url: str) -> None:
    with Store.open(url) as store:
        asked(start(plan(**WIDE), store))
        session = store.begin_session("shapes")
        before = essence(store, "shapes")
        for work in (
            lambda: store.rename_studies({"shapes": "x"}),
            lambda: store.delete_studies(["shapes"]),
        ):
            with pytest.raises(
                StoreError, match=r"'shapes' is being searched by process .* stop it"
            ):
                work()
        assert essence(store, "shapes") == before
        store.end_session(session, "interrupted")
        store.delete_studies(["shapes"])


def test_the_commands_ask_first(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = weights.save({"w": torch.zeros(1)}, str(tmp_path / "artifacts"), "one")
    with Store.open(f"sqlite:///{DATABASE}") as store:
        fill(store)
        own = next(
            r.evaluation for r in store.trials("shapes") if r.evaluation and r.evaluation.reason
        )
        assert own.id
        store.set_weights(own.id, file)
    for words in (("rename", "shapes", "forms"), ("delete", "shapes")):
        assert "nobody is here to be asked: give --yes" in cli.refused("db", *words)
    assert "NEW: a study's name has letters" in cli.refused("db", "rename", "shapes", "a b")
    for taken in ("second", "shapes"):
        message = cli.refused("db", "rename", "shapes", taken)
        assert message == f"there is a study '{taken}' already"
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked_for: list[str] = []

    def answer(question: str) -> bool:
        asked_for.append(question)
        return len(asked_for) > 1

    monkeypatch.setattr("typer.confirm", answer)
    assert cli.shown("db", "delete", "shapes").endswith("Nothing was changed.")
    shown = cli.shown("db", "rename", "shapes", "forms")
    assert shown == "shapes is forms now"
    shown = cli.shown("db", "delete", "forms")
    assert "5 trials; evaluations: 1 that no other study has go, 4 that others have stay" in shown
    assert "1 file of weights" in shown
    assert not Path(file["path"]).exists()
    assert cli.json("db", "info")["studies"] == ["second"]
    assert asked_for[1] == f"Rename study shapes of sqlite:///{DATABASE} to forms?"
    assert asked_for[2].startswith(f"Delete study forms of sqlite:///{DATABASE}? It has 5 trials;")
    ends = (".calibration", ".calibration.twins-0", ".twins-3")
    with Store.open(f"sqlite:///{DATABASE}") as store:
        for name in (*(f"second{end}" for end in ends), "second.v2"):
            store.put_study(name, {"name": name, "space": LISTED})
    shown = cli.shown("db", "rename", "second", "first", "--yes")
    assert shown.splitlines() == [f"second{end} is first{end} now" for end in ("", *ends)]
    assert cli.json("db", "info")["studies"] == [
        "first",
        *(f"first{end}" for end in ends),
        "second.v2",
    ]
    shown = cli.shown("db", "delete", "first", "--yes")
    family = ", ".join(f"first{end}" for end in ends)
    assert shown.startswith(f"first with {family} is deleted: 5 trials; ")
    assert cli.json("db", "info")["studies"] == ["second.v2"]


def test_twin_tests_and_calibrations_go_with_their_study(url: str) -> None:
    """With what they alone trained, and what they share only among them."""
    with Store.open(url) as store:
        drive(start(plan(**WIDE), store))
        drive(start(plan(name="shapes.twins-3", **WIDE), store))  # which looks all of it up
        drive(start(plan(name="shapes.calibration", **{**WIDE, "seed": 7}), store))
        family = ["shapes", "shapes.twins-3", "shapes.calibration"]
        found = store.study_contents(family)
        assert (found.trials, found.evaluations, found.shared_evaluations) == (15, 10, 0)
        session = store.begin_session("shapes.calibration")
        with pytest.raises(StoreError, match=r"'shapes\.calibration' is being searched"):
            store.delete_studies(family)
        assert store.study_contents(family) == found, "all or none"
        store.end_session(session, "done")
        assert store.delete_studies(family) == found
        left = {name for name, number in rows(store).items() if number}
        assert left <= KEPT - {"nas_evaluation"}


def test_a_calibration_that_judges_trainings_of_another_study_stays(cli: Cli) -> None:
    with Store.open(f"sqlite:///{DATABASE}") as store:
        fill(store)
        (digest,) = {trial.protocol_digest for trial in store.trials("shapes")}
        for name in ("shapes.calibration", "shapes.twins-3"):
            store.put_study(name, {"name": name, "space": LISTED})
        # Another seed is another digest of the same training; of another space it tells nothing.
        for name, other in (("seed", {**WIDE, "seed": 9}), ("other", {})):
            drive(start(plan(name=name, **other), store))
        begun = store.begin_calibration("shapes.calibration", digest, digest, {})
        store.end_calibration(begun, {"tau": 1})
    shown = cli.shown("db", "delete", "shapes", "--yes")
    assert shown.startswith("shapes with shapes.twins-3 is deleted: 5 trials; ")
    assert shown.endswith("; shapes.calibration stays: it judges trainings of second, seed, too")
    assert cli.json("db", "info")["studies"] == ["second", "shapes.calibration", "seed", "other"]
    for name in ("second", "seed", "other"):
        cli.shown("db", "delete", name, "--yes")
    assert cli.shown("db", "delete", "shapes.calibration", "--yes").startswith("shapes.calib")
    assert cli.json("db", "info")["studies"] == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("second", "x.calibration", r"'x\.calibration' would be the name of a calibration's or a"),
        (
            "second",
            "x.twins-1",
            r"twin test's trainings \(\.twins-\), which 'second' does not hold",
        ),
        ("second.calibration", "x", r"'second\.calibration' holds the trainings of a calibration"),
        ("second.calibration", "x.twins-1", r"\(\.twins-\), which 'second\.calibration' does not"),
    ],
)
def test_names_say_what_a_study_holds(
    old: str, new: str, message: str, cli: Cli, tmp_path: Path
) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    for url in (f"sqlite:///{DATABASE}", other):
        with Store.open(url) as store:
            for name in ("second", "second.calibration"):
                store.put_study(name, {"name": name, "space": LISTED})
    assert re.search(f"^NEW: .*{message}", cli.refused("db", "rename", old, new, "--yes"))
    said = cli.refused("db", "merge", other, "--rename", f"{old}={new}")
    assert re.search(f"^--rename takes OLD=NEW: .*{message}", said)
    shown = cli.shown("db", "rename", "second.calibration", "x.calibration", "--yes")
    assert shown == "second.calibration is x.calibration now"


@pytest.mark.parametrize("misled", ["shapes.twins-1", "shapes.calibration"])
def test_a_searched_study_gets_out_of_a_name_that_is_none_of_its(misled: str, cli: Cli) -> None:
    """Earlier versions let one give it."""
    with Store.open(f"sqlite:///{DATABASE}") as store:
        fill(store)
        store.rename_studies({"second": misled})
    said = cli.refused("db", "rename", misled, f"x{misled.removeprefix('shapes')}", "--yes")
    assert f"which '{misled}' does not hold" in said
    assert cli.shown("db", "rename", misled, "second", "--yes") == f"{misled} is second now"
