"""A search of the made-up table over several rungs, stepped by hand, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from search_helpers import Notes, optuna_trials
from table_helpers import evaluated, problem

from hybridnas.config import Budget
from hybridnas.search.core import SearchCore
from hybridnas.search.observer import Candidate
from hybridnas.store import RunRecord, Store

LADDER: dict[str, Any] = {"rates": (0.25,), "budget": Budget(trials=20)}
THREE: dict[str, Any] = {"rates": (0.5, 0.4), "budget": Budget(trials=20)}


def begin(store: Store, observer: Notes | None = None, **changes: Any) -> SearchCore:
    store.put_study("tabular", {})
    return SearchCore(problem(**{**LADDER, **changes}), store, observer)


@contextmanager
def reopened(store: Store, **changes: Any) -> Iterator[tuple[SearchCore, Notes]]:
    """The study as a new process finds it."""
    notes = Notes()
    with Store.open(store.url, create=False) as again:
        yield begin(again, notes, **changes), notes


def finish(core: SearchCore, candidate: Candidate, **changes: Any) -> None:
    written = core.store.record(candidate.token, replace(evaluated(candidate), **changes))
    assert written is not None
    core.settle(candidate.number)


def asked(core: SearchCore) -> Candidate:
    candidate = core.ask()
    assert candidate is not None, core.stop_reason
    return candidate


def runs(store: Store) -> dict[int, list[RunRecord]]:
    return {record.number: list(record.runs) for record in store.trials("tabular")}


def reached(store: Store) -> list[int]:
    """How many trials have a result at each rung."""
    counts = Counter(r.rung for found in runs(store).values() for r in found if r.evaluation)
    return [counts[rung] for rung in range(max(counts) + 1)]


def states(store: Store) -> Counter[str]:
    return Counter(trial.state.name for trial in optuna_trials(store, "tabular"))
