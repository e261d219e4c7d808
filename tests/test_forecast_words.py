"""What `search --dry-run` says of how long a search will take."""

from __future__ import annotations

from typing import Any

import pytest
import search_helpers as helpers
import torch
from cli_helpers import DATABASE, Cli, write_study

from hybridnas.cli.dry_run import look_around, time_forecast
from hybridnas.provenance import machine
from hybridnas.search.forecast import Forecast, Step
from hybridnas.search.plan import make_plan
from hybridnas.search.studies import read_study
from hybridnas.store import Store

pytest_plugins = ["cli_helpers"]

FIDELITY = helpers.plan().study.fidelity


@pytest.mark.parametrize(
    ("step", "more", "words"),
    [
        (
            Step("", FIDELITY, 24, 30, ("H200",), 12.3),
            {"seconds_to_begin": 20.0},
            "about 94 s with 4 at once, 20 s of it before the first begins\n"
            "24 trainings of about 12 s (by 30 in the database, on H200)",
        ),
        (
            Step("", FIDELITY, 24, 30, ("H200",), 1200),
            {"hours_left": 0.5},
            "about 2.0 hours with 4 at once, Ray's start left aside\n"
            "at most 30 min, the budget of hours\n"
            "24 trainings of about 20 min (by 30 in the database, on H200)",
        ),
        (
            Step("", FIDELITY, None, 30, ("H200",), 12.3),
            {"at_once": None, "hours_left": 0.5},
            "at most 30 min, the budget of hours\n"
            "trainings of about 12 s (by 30 in the database, on H200)\n"
            "how many at once is up to the cluster",
        ),
        (
            Step("", FIDELITY, 2400, 30, ("H200",), 12.3),
            {"gpu_hours_left": 0.5},
            "about 2.0 hours with 4 at once, Ray's start left aside\n"
            "at most 30 min of GPU time, the budget of gpu_hours\n"
            "2,400 trainings of about 12 s (by 30 in the database, on H200)",
        ),
        (
            Step("", FIDELITY, 24, 0, (), None),
            {},
            "24 trainings of unknown length\n"
            "the database has none of that kind; to find out, train a few: the same command with "
            "--set name=try --set budget.trials=2 in the place of --dry-run; then ask again",
        ),
        (
            Step("", FIDELITY, 9, 30, ("H200",), 12.3, 6),
            {},
            "about 37 s with 4 at once, Ray's start left aside\n"
            "15 trainings, 6 known, the others of about 12 s (by 30 in the database, on H200)",
        ),
        (
            Step("", FIDELITY, 9, 30, ("H200",), 12.3, may_be_fewer=True),
            {"at_once": None},
            "9 trainings of about 12 s (by 30 in the database, on H200); fewer where proposals are "
            "known already, which are looked up\nhow many at once is up to the cluster",
        ),
        (
            Step("", FIDELITY, 0, 30, ("H200",), 12.3, 15),
            {},
            "none: all that would be trained is known",
        ),
        (Step("", FIDELITY, 0, 30, ("H200",), 12.3), {}, "none: the budget is spent"),
        (
            Step("", FIDELITY, None, 3, ("H200",), 12.3),
            {"hours_left": 0.0},
            "none: the budget is spent",
        ),
        (
            Step("", FIDELITY, None, 3, ("H200",), 12.3),
            {"gpu_hours_left": 0.0},
            "none: the budget is spent",
        ),
    ],
)
def test_in_words(step: Step, more: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"at_once": 4, "seconds_to_begin": None, "hours_left": None, **more}
    settings = ["name=try", "budget.trials=2"]
    assert time_forecast(Forecast((step,), **given), settings) == words


def test_the_dry_run_asks_for_the_device_of_this_machine(cli: Cli) -> None:
    file, device = write_study(), str(machine(torch.device("cpu"))["device"])
    plan = make_plan(read_study(file))
    found = [look_around(plan, f"sqlite:///{DATABASE}", False, None).forecast]
    with Store.open(f"sqlite:///{DATABASE}") as store:
        core = helpers.start(plan, store)
        for name, seconds in ((device, 4.0), ("H200", 400.0)):
            one = helpers.asked(core)
            helpers.finish(core, one, timing={"total_s": seconds}, machine={"device": name})
    found.append(look_around(plan, f"sqlite:///{DATABASE}", True, None).forecast)
    assert [each.steps[0].devices for each in found] == [(), (device,)]
    if not torch.cuda.is_available():
        coming = "resources={nodes: elastic, concurrent: 2, cpus: 1, gpus: 1}"
        plan = make_plan(read_study(file, [coming]))
        (step,) = look_around(plan, f"sqlite:///{DATABASE}", True, None).forecast.steps
        assert step.known == 2


def test_the_dry_run_says_it(cli: Cli) -> None:
    file = write_study()
    shown = cli.shown("search", file, "--dry-run")
    assert "time 6 trainings of unknown length\n" in shown
    assert "--set name=try --set budget.trials=2 in the" in shown
    again = ["--set", "final={retrain: 3, seeds: 2}"]  # which no forecast needs
    shown = cli.shown("search", file, "--dry-run", *again)
    assert "--set budget.trials=2 --set final=null in the" in " ".join(shown.split())
    with Store.open(f"sqlite:///{DATABASE}") as store:
        for taken in ("try", "try-2"):
            store.put_study(taken, helpers.plan(name=taken).config)
    assert "--set name=try-3 --set" in cli.shown("search", file, "--dry-run")
    digits = cli.json("search", file, "--dry-run")
    assert digits["forecast"]["hours"] is None
    assert digits["forecast"]["steps"][0]["number"] == 6
