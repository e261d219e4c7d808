"""`hybridnas calibrate`, its trainings made up in this process instead of by Ray's workers."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from calibration_helpers import LONG, SHORT, evaluation
from cli_helpers import DATABASE, Cli, files, write_study
from search_helpers import LISTED, RAW, drive, start
from trainings_helpers import Made, make_up

from hybridnas.config import Protocol, parse_study
from hybridnas.search.plan import Plan, make_plan
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

LADDER = [SHORT.model_dump(), LONG.model_dump()]


@pytest.fixture(autouse=True)
def trainings(monkeypatch: pytest.MonkeyPatch) -> Made:
    return make_up(monkeypatch, evaluation)


def planned(fidelities: list[dict[str, Any]]) -> Plan:
    """The study of `write_study`, with its data looked at as the command does."""
    return make_plan(parse_study({**RAW, "space": LISTED, "fidelities": fidelities}, "test"))


def test_it_prints_keeps_and_shows_the_answer(cli: Cli, trainings: Made) -> None:
    name = write_study(space=LISTED, fidelities=LADDER)
    found = cli.json("calibrate", name, "--archs", "8")
    assert trainings.done == 16
    assert (found["study"], found["archs"], found["metric"]) == ("shapes", 8, "top1")
    assert (found["proxy"]["epochs"], found["judge"]["epochs"]) == (1, 4)
    tau = found["tau"]["proxy"]["overall"]
    shown = cli.shown("calibrate", name, "--archs", "8")  # all is known
    assert trainings.done == 16
    assert "shapes: tau with top1 after 4 epochs at 32 px, over 8 architectures" in shown
    words = f"{tau['tau']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}]"
    assert f"proxy │ {words}" in shown
    assert "proxy: top1 after 1 epoch at 32 px, 1.0 s a training; 4.0 s for what judges" in shown
    with Store.open(f"sqlite:///{DATABASE}") as store:
        assert len(store.calibrations(study="shapes.calibration")) == 2
        drive(start(planned(LADDER), store))
    shown = cli.shown("pareto", "shapes")
    assert "proxy: not calibrated (hybridnas calibrate shapes --archs 24)" in shown
    assert f"1 epoch at 32 px against this fidelity: tau {words} (95 %) over 8 archs, at" in shown
    assert f"tau {words} (95 %) over 8 archs" in cli.shown("status", "shapes")
    (known,) = cli.json("status", "shapes")["calibrations"]
    assert known["tau"] == found["tau"]


def test_the_fidelity_of_a_search_is_judged_by_more_epochs(cli: Cli) -> None:
    name = write_study(space=LISTED)
    found = cli.json("calibrate", name, "--archs", "8", "--epochs", "4", "--seeds", "2")
    assert (found["proxy"], found["judge"]) == (SHORT.model_dump(), LONG.model_dump())
    assert found["between_seeds"]["tau"] == 1
    with Store.open(f"sqlite:///{DATABASE}") as store:
        drive(start(planned(LADDER[:1]), store))
    shown = cli.shown("pareto", "shapes")
    assert "proxy: against 4 epochs at 32 px: tau " in shown
    assert "not calibrated" not in shown
    assert "two seeds of the judge: tau 1.00" in cli.shown(
        "calibrate", name, "--archs", "8", "--epochs", "4", "--seeds", "2"
    )


def test_an_interrupted_calibration_goes_on(cli: Cli, trainings: Made) -> None:
    name = write_study(space=LISTED, fidelities=LADDER)
    trainings.left = 5
    done = cli("calibrate", name, "--archs", "8")
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("interrupted; go on with --resume\n")
    message = cli.refused("calibrate", name, "--resume", "--archs", "9")
    assert message.endswith("what the calibration began with: leave --archs out")
    trainings.left = 3
    assert cli("calibrate", name, "--archs", "8").code == 130  # the same words go on as well
    trainings.left = 1000
    found = cli.json("calibrate", "shapes", "--resume")
    assert (trainings.done, found["architectures"]) == (16, 8)
    with Store.open(f"sqlite:///{DATABASE}") as store:
        (record,) = store.calibrations(study="shapes.calibration")
    assert record.result is not None
    assert record.result["tau"] == found["tau"]
    message = cli.refused("calibrate", "shapes", "--resume")
    assert message == "no calibration of 'shapes' waits to be finished: leave --resume out"


def test_a_dry_run_says_what_there_is_and_writes_nothing(cli: Cli, trainings: Made) -> None:
    name = write_study(space=LISTED, fidelities=LADDER)
    words = ("calibrate", name, "--archs", "8")
    before = files()
    found = cli.json(*words, "--dry-run")
    assert (found["trainings"], found["known"], found["hours"]) == (16, 0, None)
    assert len({network["arch"] for network in found["networks"]}) == 8
    shown = cli.shown(*words, "--dry-run")
    assert shown.startswith("shapes.calibration would train (nothing was written)\nMACs from ")
    assert "8 trainings of 1 epoch at 32 px" in shown
    assert "time 16 trainings, 0 known; how long one takes is not known yet" in shown
    assert (files(), trainings.done) == (before, 0)
    trainings.left = 5
    cli(*words)
    again = cli.json("calibrate", "shapes", "--resume", "--dry-run")
    assert (again["networks"], again["known"]) == (found["networks"], 5)
    trainings.left = 1000
    cli.shown(*words)
    assert "16 trainings, all known" in cli.shown(*words, "--dry-run")
    found = cli.json(*words, "--dry-run", "--seeds", "2")
    assert (found["trainings"], found["known"]) == (32, 16)
    assert {kind["fidelity"]["epochs"]: kind["seconds"] for kind in found["kinds"]} == {1: 1, 4: 4}
    waves = math.ceil(8 / found["at_once"])
    assert found["hours"] == pytest.approx(waves * (1 + 4) / 3600)
    done = cli(*words, "--seeds", "2")
    assert "one takes about 4 s at 4 epochs at 32 px (on cpu), about 1 s at 1 epoch" in done.err


def test_the_longer_is_forecast_by_the_shorter(cli: Cli) -> None:
    """The search's own trainings took a minute each, and nothing was trained for longer."""
    name = write_study(space=LISTED, fidelities=LADDER[:1])
    with Store.open(f"sqlite:///{DATABASE}") as store:
        drive(start(planned(LADDER[:1]), store))
    words = ("calibrate", name, "--archs", "8", "--epochs", "4", "--dry-run")
    found = cli.json(*words)
    told = {kind["fidelity"]["epochs"]: kind for kind in found["kinds"]}
    assert {epochs: kind["seconds"] for epochs, kind in told.items()} == {1: 60, 4: 240}
    assert (told[1]["scaled"], told[4]["scaled"]) == (None, SHORT.model_dump())
    waves = sum(math.ceil(k["left"] / found["at_once"]) * k["seconds"] for k in told.values())
    assert found["hours"] == pytest.approx(waves / 3600)
    shown = cli.shown(*words)
    assert "about 4 min at 4 epochs at 32 px (on cpu, by those of 1 epoch at 32 px)" in shown
    assert ": in all " in shown


def test_with_another_recipe_it_begins_anew(cli: Cli, trainings: Made) -> None:
    words = ("calibrate", write_study(space=LISTED, fidelities=LADDER), "--archs", "8")
    trainings.left = 5
    assert cli(*words).code == 130
    trainings.left = 1000
    cli.json(*words, "--set", "recipe.lr=0.01")
    with Store.open(f"sqlite:///{DATABASE}") as store:
        first, second = store.calibrations(study="shapes.calibration")
        text = store.protocol_json(second.judge_digest)
    assert first.settings == second.settings
    assert first.result is None
    assert second.result is not None
    assert text is not None
    assert Protocol.from_json(text).recipe.lr == 0.01


def test_two_rungs_below_the_top(cli: Cli) -> None:
    ladder = [*LADDER, {"epochs": 9, "resolution": 64}]
    words = ("calibrate", write_study(space=LISTED, fidelities=ladder), "--rungs", "1,2")
    done = cli(*words, "--archs", "8", "--json")
    assert "8 trainings of 1 epoch at 32 px" in done.err
    assert "and 8 of 4 epochs at 32 px" in done.err
    found = json.loads(done.out)
    assert (found["proxy"], found["judge"]) == (SHORT.model_dump(), LONG.model_dump())


def test_what_cannot_be_calibrated_is_refused(cli: Cli) -> None:
    name = write_study(space=LISTED)
    message = cli.refused("calibrate", name)
    assert "one fidelity (1 epoch at 32 px): say what it is to be judged by, --epochs N" in message
    message = cli.refused("calibrate", name, "--epochs", "1")
    assert message == "--epochs takes more than the 1 of the study's own, got 1"
    name = write_study(space=LISTED, fidelities=LADDER)
    assert "--epochs or --rungs, not both" in cli.refused(
        "calibrate", name, "--epochs", "9", "--rungs", "1,2"
    )
    for wrong in ("2,1", "1", "1,3", "low,high", "1,1"):
        message = cli.refused("calibrate", name, "--rungs", wrong)
        assert message == f"--rungs takes LOW,HIGH, two of 1 to 2, got {wrong!r}"
    assert "Invalid value for '--archs'" in cli.refused("calibrate", name, "--archs", "7")
    message = cli.refused("calibrate", name, "--set", f"name={'a' * 89}")
    assert message.startswith("a calibration is kept under its study's name and '.calibration', so")
    assert message.endswith(" has 89 (--set name=...)")
    assert "no database at" in cli.refused("calibrate", "nothing")
