"""How long a search will take, by what the database knows of trainings like its own."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import search_helpers as helpers

from hybridnas.errors import ConfigError
from hybridnas.search import job_forecast
from hybridnas.search.forecast import Forecast, Past, Step, _on_a_line, few_trials, forecast
from hybridnas.search.ladder import candidates
from hybridnas.search.plan import counted_costs, rung_protocol
from hybridnas.search.registration import check_registered
from hybridnas.search.studies import protocol_of
from hybridnas.search.trainings import Job
from hybridnas.store import Store
from hybridnas.store.trial_methods import TrialMethods

FIDELITY = helpers.plan().study.fidelity
LADDER = [{"epochs": 1, "resolution": 32}, {"epochs": 4, "resolution": 32}]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{tmp_path / 'test.db'}") as opened:
        yield opened


def trained(store: Store, trials: int, device: str = "cpu", **changes: Any) -> None:
    """So many candidates of a study, each as long as its epochs: 10 s, one more after the first."""
    core = helpers.start(helpers.plan(**changes), store)
    while (candidate := core.ask()) is not None and trials:
        seconds = 10.0 * helpers.protocol(candidate).fidelity.epochs + (candidate.number > 0)
        timing, machine = {"total_s": seconds, "gpu_s": 60.0}, {"device": device}
        helpers.finish(core, candidate, timing=timing, machine=machine)
        trials -= candidate.rung == 0


def of(store: Store, at_once: int | None = 2, **changes: Any) -> Forecast:
    return forecast(helpers.plan(**changes), at_once, Past(store))


def test_another_network_takes_what_its_macs_say() -> None:
    assert _on_a_line([1e6, 2e6, 3e6], [5.0, 7.0, 9.0], 20e6) == pytest.approx(43)
    assert _on_a_line([1e6, 2e6, 3e6], [9.0, 7.0, 5.0], 20e6) == pytest.approx(7)  # noise
    assert _on_a_line([2e6, 3e6, 4e6], [5.0, 7.0, 9.0], 1e5) == 5.0  # what every training takes
    assert _on_a_line([1e6, 1e6, 2e6], [5.0, 6.0, 9.0], 20e6) == 6.0  # too few to draw a line


def test_a_new_study_takes_what_others_took_under_its_protocol(store: Store) -> None:
    trained(store, 3)
    other: dict[str, Any] = {"name": "other", "seed": 4, "budget": {"trials": 5}}
    (step,) = of(store, **other).steps
    assert (step.number, step.known, step.devices) == (5, 3, ("cpu",))
    assert step.seconds == pytest.approx((10 + 11 + 11) / 3)
    assert of(store, **other).hours == pytest.approx(3 * (32 / 3) / 3600)
    (unlike,) = of(store, **other, fidelities=[{"epochs": 2, "resolution": 32}]).steps
    assert (unlike.known, unlike.seconds) == (0, None)
    assert of(store, **other, fidelities=[{"epochs": 2, "resolution": 32}]).hours is None
    assert of(store, None, **other).hours is None


def test_a_study_that_goes_on_has_less_to_train(store: Store) -> None:
    trained(store, 4)
    session = store.begin_session("shapes")
    store.end_session(session, "interrupted")
    found = of(store, budget={"trials": 6, "hours": 2})
    assert found.steps[0].number == 2
    assert found.hours_left == pytest.approx(2, abs=0.01)
    assert of(store, budget={"hours": 2}).steps[0].number is None
    assert of(store, budget={"hours": 2}).hours is None
    assert found.gpu_hours_left is None
    # Four minutes, for each of the four had a GPU of its own for one.
    assert of(store, budget={"gpu_hours": 1}).gpu_hours_left == pytest.approx(1 - 4 / 60)
    assert of(store, budget={"gpu_hours": 4 / 60}).gpu_hours_left == 0
    assert of(store, name="new", budget={"gpu_hours": 1}).gpu_hours_left == 1


def test_no_more_are_trained_than_the_space_holds_and_none_that_is_known(store: Store) -> None:
    """Six architectures, of which another study knows four."""
    trained(store, 4)
    many: dict[str, Any] = {"name": "other", "budget": {"trials": 100}}
    (step,) = of(store, **many).steps
    assert (step.number, step.known_now, step.may_be_fewer) == (2, 4, False)
    assert step.seconds is not None
    assert of(store, **many).hours == pytest.approx(step.seconds / 3600)
    (grid,) = of(store, name="other", sampler="grid", budget={"hours": 9}).steps
    assert (grid.number, grid.known_now) == (2, 4)
    (few,) = of(store, name="other", budget={"trials": 3}).steps
    assert (few.number, few.known_now, few.may_be_fewer) == (2, 1, True)
    (unlike,) = of(store, **many, seed=1).steps
    assert (unlike.number, unlike.known_now) == (6, 0)
    limit = {"macs": {"max": 1.0}}
    assert of(store, **many, constraints=limit).steps[0].number == 0
    (large,) = of(store, **many, space=helpers.LISTED).steps
    assert (large.number, large.known_now) == (100, 0)


def test_references_are_trained_at_every_rung(store: Store) -> None:
    study: dict[str, Any] = {
        "space": "hybrid",
        "fidelities": [{"epochs": epochs, "resolution": 64} for epochs in (1, 2, 6)],
        "references": ["mambaout_femto", "mambaout_kobe", "mambaout_tiny"],
        "budget": {"trials": 13},
    }
    told = [step.number for step in of(store, **study).steps]
    driven = Counter(c.rung for c in helpers.drive(helpers.start(helpers.plan(**study), store)))
    assert told == [driven[rung] for rung in range(3)]
    assert [step.number for step in of(store, **study).steps] == [0, 0, 0]
    few = helpers.plan(**{**study, "budget": {"trials": 2}}).study
    assert candidates(few, references=3) == [2, 2, 2]
    assert candidates(helpers.plan(**study).study, size=5, references=3)[0] == 5


def test_a_forecast_reads_no_trials(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of them, with their curves, would have to be read before a dry run says a word."""
    trained(store, 3)
    monkeypatch.delattr(TrialMethods, "trials")
    found = of(store, budget={"trials": 5, "gpu_hours": 2})
    assert [step.number for step in found.steps] == [2]
    assert check_registered(helpers.plan(), store, resume=True)


def test_each_rung_and_the_final_retraining_count(store: Store) -> None:
    study: dict[str, Any] = {"fidelities": LADDER, "final": {"retrain": 2, "seeds": 3}}
    trained(store, 6, **study, budget={"trials": 6})
    new = {**study, "name": "new", "budget": {"trials": 20}, "space": helpers.LISTED}
    found = of(store, **new)
    low, high = found.steps
    seen = candidates(helpers.plan(**new).study)
    assert seen[1] is not None
    assert (low.number, high.number) == (20, seen[1] + 2 * 3)
    assert low.seconds is not None
    assert high.seconds is not None
    assert low.seconds < 12 < 40 <= high.seconds
    waves = 10 * low.seconds + math.ceil((seen[1] + 6) / 2) * high.seconds
    assert found.hours == pytest.approx(waves / 3600)


@pytest.mark.parametrize(("trials", "trained_anew"), [(2, 2), (6, 5)])
def test_no_more_are_retrained_than_there_are(trials: int, trained_anew: int, store: Store) -> None:
    wanted: dict[str, Any] = {"final": {"retrain": 5, "seeds": 3}, "budget": {"trials": trials}}
    (step,) = of(store, **wanted).steps
    assert step.number == trials + 3 * trained_anew


def test_the_wait_before_the_first_training_is_in_it() -> None:
    step = Step("", FIDELITY, 9, 30, ("cpu",), 12.0)
    assert Forecast((step,), 4, None, None).hours == pytest.approx(3 * 12 / 3600)
    assert Forecast((step,), 4, 20.0, None).hours == pytest.approx((20 + 3 * 12) / 3600)


def test_the_device_that_trains_says_it_where_it_has_trained(store: Store) -> None:
    trained(store, 3, "EPYC")
    trained(store, 2, "H200", name="elsewhere", seed=9)
    past, new = Past(store), helpers.plan(name="new", seed=4)
    for device, known in {"H200": 2, "EPYC": 3, "none of them": 5}.items():
        (step,) = forecast(new, 2, past, device).steps
        assert step.known == known
        assert step.devices == ((device,) if known < 5 else ("EPYC", "H200"))


def test_given_trainings_take_what_others_took_on_this_device(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All six networks of the space, of which one is known under their protocol."""
    trained(store, 3, "EPYC")
    trained(store, 1, "H200", name="elsewhere", seed=9)
    plan = helpers.plan(name="new", seed=9)
    protocol = rung_protocol(plan, plan.study.fidelity)
    found = [plan.space.decode(genome) for genome in helpers.genomes(plan.space)]
    jobs = [Job(a, a.digest, protocol, counted_costs(plan, a, 32)) for a in found]
    for device, seconds in (("H200", 10.0), ("EPYC", (10 + 11 + 11) / 3)):
        monkeypatch.setattr(job_forecast, "device_here", lambda share, named=device: named)
        told = job_forecast.forecast_jobs(plan.study, jobs, store.url, None)
        (kind,) = told.kinds
        assert (told.trainings, told.known, kind.left, kind.devices) == (6, 1, 5, (device,))
        assert told.at_once is not None
        assert kind.seconds is not None
        assert kind.seconds == pytest.approx(seconds, abs=1)  # by the MACs of those that are left
        assert told.hours == pytest.approx(math.ceil(5 / told.at_once) * kind.seconds / 3600)
    assert job_forecast.forecast_jobs(plan.study, jobs[:0], store.url, None).hours == 0.0
    nowhere = job_forecast.forecast_jobs(plan.study, jobs, "sqlite:///none.db", None)
    assert (nowhere.known, nowhere.hours) == (0, None)


def test_of_a_cluster_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the environment names it: this machine need not have what a candidate asks for."""
    plan = helpers.plan(resources={"gpus": 64})
    architecture = plan.space.decode({})
    job = Job(architecture, architecture.digest, plan.protocol, {"macs": 1.0})

    def at_once(given: str | None) -> int | None:
        return job_forecast.forecast_jobs(plan.study, [job], "sqlite:///none.db", given).at_once

    for given, named in ((None, "auto"), ("auto", "local"), ("auto", "")):
        monkeypatch.setenv("RAY_ADDRESS", named)
        assert at_once(given) is None
    for given, named in ((None, ""), ("local", "auto")):
        monkeypatch.setenv("RAY_ADDRESS", named)
        with pytest.raises(ConfigError, match="a candidate asks for 1 CPUs and 64 GPUs"):
            at_once(given)


def test_a_study_of_a_later_version_beside_it_does_no_harm(store: Store) -> None:
    trained(store, 2)
    raw = json.loads(helpers.plan().protocol.to_json())
    raw["recipe"]["of_tomorrow"] = 1
    store.put_study("theirs", {})
    store.put_protocol("later", json.dumps(raw))
    store.lease("theirs", 0, store.trials("shapes")[0].architecture_digest, "later")
    assert of(store, name="new").steps[0].known == 2
    with pytest.raises(ConfigError, match=r"protocol later, of another version .* 'recipe\.of_tom"):
        protocol_of(store, "later")


@pytest.mark.parametrize("shares", [[0.3, 0.7], [0.9, 0.1]])
def test_a_few_trials_reach_every_rung(shares: list[float]) -> None:
    study: dict[str, Any] = {"fidelities": LADDER, "halving": {"shares": shares}}
    few = few_trials(helpers.plan(**study).study)
    assert few >= 2
    assert all(candidates(helpers.plan(**study, budget={"trials": few}).study))
    if few > 2:
        fewer = helpers.plan(**study, budget={"trials": few - 1}).study
        assert not all(candidates(fewer))
