"""`hybridnas calibrate`, its trainings made up in this process instead of by Ray's workers."""

from __future__ import annotations

from typing import Any

import pytest
from calibration_helpers import LONG, SHORT, evaluation
from cli_helpers import DATABASE, Cli, write_study
from search_helpers import LISTED, RAW, drive, start

from hybridnas.config import parse_study
from hybridnas.search import driver
from hybridnas.search.plan import Plan, make_plan
from hybridnas.search.searcher import Work
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

LADDER = [SHORT.model_dump(), LONG.model_dump()]


@pytest.fixture(autouse=True)
def trainings(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many trainings may still be done, and how many were."""
    count = {"left": 1000, "done": 0}

    def train(work: Work, *_: Any) -> str:
        while (candidate := work.ask()) is not None:
            if count["left"] == 0:
                work.release()
                return "interrupted"
            work.store.record(candidate.token, evaluation(candidate))
            work.settle(candidate.number)
            count["left"], count["done"] = count["left"] - 1, count["done"] + 1
        return "done"

    monkeypatch.setattr(driver, "_work", train)
    return count


def planned(fidelities: list[dict[str, Any]]) -> Plan:
    """The study of `write_study`, with its data looked at as the command does."""
    return make_plan(parse_study({**RAW, "space": LISTED, "fidelities": fidelities}, "test"))


def test_it_prints_keeps_and_shows_the_answer(cli: Cli, trainings: dict[str, int]) -> None:
    name = write_study(space=LISTED, fidelities=LADDER)
    found = cli.json("calibrate", name, "--archs", "8")
    assert trainings["done"] == 16
    assert (found["study"], found["archs"], found["metric"]) == ("shapes", 8, "top1")
    assert (found["proxy"]["epochs"], found["judge"]["epochs"]) == (1, 4)
    tau = found["tau"]["proxy"]["overall"]
    shown = cli.shown("calibrate", name, "--archs", "8")  # all is known
    assert trainings["done"] == 16
    assert "shapes: tau with top1 after 4 epochs at 32 px, over 8 architectures" in shown
    words = f"{tau['tau']:.2f} [{tau['low']:.2f}, {tau['high']:.2f}]"
    assert f"proxy │ {words}" in shown
    assert "proxy: top1 after 1 epoch at 32 px, 1.0 s a training; 4.0 s for what judges" in shown
    with Store.open(f"sqlite:///{DATABASE}") as store:
        assert len(store.calibrations(study="shapes.calibration")) == 2
        drive(start(planned(LADDER), store))
    shown = cli.shown("pareto", "shapes")
    assert "proxy: not calibrated (hybridnas calibrate shapes --archs 24 --epochs" in shown
    assert f"1 epoch at 32 px against this fidelity: tau {words} over 8 archs, at equal" in shown
    assert f"tau {words} over 8 archs" in cli.shown("status", "shapes")
    (known,) = cli.json("status", "shapes")["calibrations"]
    assert known["tau"] == found["tau"]


def test_the_fidelity_of_a_search_is_judged_by_more_epochs(cli: Cli) -> None:
    name = write_study(space=LISTED)
    found = cli.json("calibrate", name, "--archs", "6", "--epochs", "4", "--seeds", "2")
    assert (found["proxy"], found["judge"]) == (SHORT.model_dump(), LONG.model_dump())
    assert found["ceiling"]["tau"] == 1
    with Store.open(f"sqlite:///{DATABASE}") as store:
        drive(start(planned(LADDER[:1]), store))
    shown = cli.shown("pareto", "shapes")
    assert "proxy: against 4 epochs at 32 px: tau " in shown
    assert "not calibrated" not in shown
    assert "between two seeds" in cli.shown(
        "calibrate", name, "--archs", "6", "--epochs", "4", "--seeds", "2"
    )


def test_an_interrupted_calibration_goes_on(cli: Cli, trainings: dict[str, int]) -> None:
    name = write_study(space=LISTED, fidelities=LADDER)
    trainings["left"] = 5
    done = cli("calibrate", name, "--archs", "6")
    assert (done.code, done.out) == (130, "")
    assert done.err.endswith("interrupted; go on with --resume\n")
    message = cli.refused("calibrate", name, "--resume", "--archs", "7")
    assert message.endswith("what the calibration began with: leave --archs out")
    trainings["left"] = 3
    assert cli("calibrate", name, "--archs", "6").code == 130  # the same words go on as well
    trainings["left"] = 1000
    found = cli.json("calibrate", "shapes", "--resume")
    assert (trainings["done"], found["architectures"]) == (12, 6)
    with Store.open(f"sqlite:///{DATABASE}") as store:
        (record,) = store.calibrations(study="shapes.calibration")
    assert record.result is not None
    assert record.result["tau"] == found["tau"]
    message = cli.refused("calibrate", "shapes", "--resume")
    assert message == "no calibration of 'shapes' waits to be finished: leave --resume out"


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
    assert "Invalid value for '--archs'" in cli.refused("calibrate", name, "--archs", "4")
    message = cli.refused("calibrate", name, "--set", f"name={'a' * 90}")
    assert "NAME.calibration, so the study's name may have 88 characters, got 90: give" in message
    assert "no database at" in cli.refused("calibrate", "nothing")
