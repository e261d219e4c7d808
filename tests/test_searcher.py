"""What Tune is given, and what becomes of candidates that end without a result; without Ray."""

from __future__ import annotations

from typing import Any

import pytest
from calibration_helpers import planned, work
from ray.tune.search import Searcher
from search_helpers import Notes, drive, optuna_trials, plan, result, start

from hybridnas.errors import ConfigError
from hybridnas.search.retries import Retries
from hybridnas.search.searcher import StudySearcher, Work
from hybridnas.search.view import StudyView
from hybridnas.store import Store


class Tune:
    """As Ray Tune asks and tells. Its trials have the candidates' numbers."""

    def __init__(self, core: Work, retries: int, room: float = 2) -> None:
        self.core, self.now = core, 0.0
        self.down: frozenset[str] = frozenset()
        policy = Retries(retries, lambda: self.down, lambda: self.now)
        self.searcher = StudySearcher(core, retries=policy, room=lambda: room)
        self.out: dict[int, str] = {}  # Tune's trials that run
        self._made = 0

    def ask(self) -> int | None:
        """The number of a candidate that runs now; None: none for now."""
        self._made += 1
        config = self.searcher.suggest(trial := f"trial {self._made}")
        assert config != Searcher.FINISHED
        if config is None:
            return None
        self.out[config["number"]] = trial
        return int(config["number"])

    def is_over(self) -> bool:
        return self.searcher.suggest("one more") == Searcher.FINISHED

    def lose(self, *numbers: int) -> None:
        for number in numbers:
            self.searcher.on_trial_complete(self.out.pop(number), error=True)

    def finish(self, *numbers: int) -> None:
        for number in numbers:
            candidate = self.core.running[number]
            assert self.core.store.record(candidate.token, result(candidate)) is not None
            told = {"number": number, "recorded": True}
            self.searcher.on_trial_complete(self.out.pop(number), told)


def tune(store: Store, retries: int, room: float = 2, **changes: Any) -> Tune:
    return Tune(start(plan(**changes), store), retries, room)


def attempts(store: Store) -> list[int]:
    return [record.attempt for record in store.trials("shapes")]


def states(store: Store) -> list[str]:
    return [trial.state.name for trial in optuna_trials(store)]


def test_a_lost_candidate_is_given_out_again_after_its_pause(study_store: Store) -> None:
    search = tune(study_store, retries=1, budget={"trials": 3})
    study_store.begin_session("shapes")
    assert (search.ask(), search.ask(), search.ask()) == (0, 1, None)
    first = search.core.running[0].token
    search.lose(0)
    assert search.ask() == 2, "others go on"
    assert StudyView("shapes", study_store).counts() == {"running": 2, "queued": 1}
    search.finish(1)
    assert search.ask() is None
    search.now = 1.0
    assert search.ask() == 0
    assert search.core.running[0].token != first
    assert attempts(study_store) == [2, 1, 1]
    search.finish(2, 0)
    assert search.is_over()
    assert states(study_store) == ["COMPLETE"] * 3
    assert study_store.info().rows["nas_evaluation"] == 3


def test_the_search_is_not_over_while_something_runs_or_waits(study_store: Store) -> None:
    """Tune never asks again once it was told so, and what runs may be lost."""
    search = tune(study_store, retries=1, budget={"trials": 1})
    assert search.ask() == 0
    assert search.core.stop_reason == "trials"
    assert search.ask() is None
    search.lose(0)
    assert search.ask() is None
    search.now = 1.0
    assert search.ask() == 0
    search.lose(0)
    assert search.ask() is None
    search.now = 30.0
    assert search.is_over(), "given up"
    trial, record = optuna_trials(study_store)[0], study_store.trial("shapes", 0)
    assert (trial.state.name, trial.user_attrs["reason"]) == ("FAIL", "node_lost")
    assert record is not None
    assert (record.attempt, record.evaluation is not None) == (2, True)


def test_a_node_that_goes_costs_no_retry(study_store: Store) -> None:
    search = tune(study_store, retries=0, budget={"trials": 2})
    assert (search.ask(), search.ask()) == (0, 1)
    search.lose(0, 1)
    search.down = frozenset({"a node"})  # Ray knows of it after a while
    search.now = 25.0
    assert (search.ask(), search.ask()) == (0, 1)
    search.finish(0, 1)
    assert search.is_over()
    assert states(study_store) == ["COMPLETE"] * 2


def test_what_a_worker_that_lived_on_wrote_in_the_pause_counts(study_store: Store) -> None:
    notes = Notes()
    search = Tune(start(plan(budget={"trials": 2}), study_store, notes), retries=1)
    assert (search.ask(), search.ask()) == (0, 1)
    candidate = search.core.running[0]
    search.lose(0)
    assert study_store.record(candidate.token, result(candidate))
    search.finish(1)
    search.now = 1.0
    assert search.is_over()
    assert states(study_store) == ["COMPLETE"] * 2
    assert attempts(study_store) == [1, 1]
    assert [found.reused for found in notes.results] == [False, False]


def test_hours_that_end_in_the_pause_leave_it_for_later(study_store: Store) -> None:
    search = tune(study_store, retries=1, budget={"trials": 2, "gpu_hours": 0.01})
    assert (search.ask(), search.ask()) == (0, 1)
    search.lose(0)
    search.finish(1)  # that took a minute
    assert search.core.stop_reason == "gpu_hours"
    search.now = 1.0
    assert search.is_over()
    search.core.release()
    assert states(study_store) == ["WAITING", "COMPLETE"]
    again = start(plan(budget={"trials": 2}), study_store)
    assert [candidate.number for candidate in drive(again)] == [0]
    assert attempts(study_store) == [2, 1]


@pytest.mark.parametrize("released", [True, False])
def test_a_driver_that_ends_in_the_pause(released: bool, study_store: Store) -> None:
    """By Ctrl-C, or by its death."""
    search = tune(study_store, retries=1, budget={"trials": 2})
    assert (search.ask(), search.ask()) == (0, 1)
    search.finish(1)
    search.lose(0)
    if released:
        search.searcher.stopping = True
        assert search.is_over()
        search.core.release()
        assert states(study_store) == ["WAITING", "COMPLETE"]
    later = tune(study_store, retries=0, budget={"trials": 2})
    assert later.ask() == 0
    later.finish(0)
    assert later.is_over()
    assert attempts(study_store) == [2, 1]


def test_a_lost_retraining_is_made_again(study_store: Store) -> None:
    search = tune(study_store, 1, budget={"trials": 1}, final={"retrain": 1, "seeds": 2})
    assert search.ask() == 0
    search.finish(0)
    for repeat in (1, 2):
        assert search.ask() == 0
        search.lose(0)
        assert search.ask() is None
        search.now += 1.0
        assert search.ask() == 0
        assert search.core.running[0].repeat == repeat
        search.finish(0)
    assert search.is_over()
    assert search.core.stop_reason == "trials"
    record = study_store.trial("shapes", 0)
    assert record is not None
    ended = [(run.repeat, run.evaluation.status) for run in record.runs if run.evaluation]
    assert ended == [(0, "ok"), (1, "ok"), (2, "ok")]


def test_a_lost_training_of_a_calibration_is_made_again(study_store: Store) -> None:
    search = Tune(work(study_store, planned(study_store)), retries=1)
    assert (search.ask(), search.ask()) == (0, 1)
    lost = search.core.running[0]
    search.lose(0)
    search.now = 1.0
    assert search.ask() == 0
    again = search.core.running[0]
    assert (again.digest, again.protocol) == (lost.digest, lost.protocol)
    assert again.token != lost.token


def test_four_architectures_in_a_row_end_the_search(study_store: Store) -> None:
    search = tune(study_store, retries=0, room=1)
    for number in range(4):
        assert search.ask() == number
        trial = search.out[number]
        search.searcher.on_trial_result(trial, {"number": number, "lost": "ImportError: no x"})
        search.lose(number)
        search.now += 25.0
    assert search.is_over()
    with pytest.raises(ConfigError, match=r"wrong with the workers \(ImportError: no x\)"):
        raise search.searcher.error or AssertionError
    assert states(study_store) == ["FAIL"] * 4


def test_one_bad_candidate_ends_nothing(study_store: Store) -> None:
    search = tune(study_store, retries=20, room=1, budget={"trials": 2})
    assert search.ask() == 0
    for _ in range(20):
        search.lose(0)
        search.now += 25.0
        assert search.ask() == 0
    search.lose(0)
    search.now += 25.0
    assert search.ask() == 1
    assert search.searcher.error is None
    search.finish(1)
    assert search.is_over()
    assert states(study_store) == ["FAIL", "COMPLETE"]
    assert attempts(study_store) == [21, 1]
