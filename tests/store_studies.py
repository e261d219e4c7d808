"""A database of two studies, and what there is in one, for comparison."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial
from search_helpers import FAILED, LISTED, asked, drive, finish, optuna_trials, plan, start

from hybridnas.store import Evaluation, Store, TrialRecord

WIDE: dict[str, Any] = {"space": LISTED, "budget": {"trials": 5}}


def fill(store: Store) -> None:
    """Two studies: one that ended, with a failure; one that was interrupted and reused a score."""
    core = start(plan(**WIDE), store)
    finish(core, asked(core), **FAILED)
    drive(core)
    store.end_session(store.begin_session("shapes"), "trials")
    store.put_front("shapes", [{"trial": 1}], {"trials": 5})
    second = start(plan(name="second", **WIDE), store)
    waiting = asked(second)
    assert second.ask() is None, "all others are known from the first study"
    second.release()
    assert waiting.number == 0


def essence(store: Store, study: str) -> list[TrialRecord]:
    """A study's trials without what is numbered or drawn anew."""

    def without_id(known: Evaluation | None) -> Evaluation | None:
        return known and replace(known, id=None)

    def plain(record: TrialRecord) -> TrialRecord:
        runs = [replace(run, evaluation=without_id(run.evaluation)) for run in record.runs]
        known = without_id(record.evaluation)
        return replace(record, study="", token="", evaluation=known, runs=runs)

    return [plain(record) for record in store.trials(study)]


def of_optuna(store: Store, study: str) -> list[dict[str, Any]]:
    def plain(trial: FrozenTrial) -> dict[str, Any]:
        return {k: v for k, v in vars(trial).items() if k != "_trial_id"}

    return [plain(trial) for trial in optuna_trials(store, study)]


def rows(store: Store) -> dict[str, int]:
    return dict(store.info().rows)
