"""Deaths of a driver at any point of its writes, in process, and what a resumed search makes of
them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from search_helpers import FAILED, LISTED, optuna_trials, plan, result, start
from sqlalchemy.orm import Session

from hybridnas.search.core import SearchCore
from hybridnas.search.observer import Candidate
from hybridnas.store import Store
from hybridnas.store.engine import Database

pytest_plugins = ["store_databases"]

TRIALS = 12
DRILL: dict[str, Any] = {"space": LISTED, "budget": {"trials": TRIALS}, "seed": 7}


class Death(BaseException):
    """The process is gone: nothing in it may catch this."""


@contextmanager
def dying(after: int, committed: bool) -> Iterator[None]:
    """Dies at the write of that number: before its transaction ends, or right after."""
    real, left = Database.write, after

    def write(self: Database, work: Callable[[Session], Any]) -> Any:
        nonlocal left
        left -= 1
        if left != 0:
            return real(self, work)
        if not committed:

            def cut(session: Session) -> Any:
                work(session)
                session.flush()
                raise Death

            return real(self, cut)
        real(self, work)
        raise Death

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "write", write)
        yield


def evaluate(core: SearchCore, candidate: Candidate) -> None:
    """As a worker would; some candidates fail, always the same."""
    fails = int(candidate.digest, 16) % 5 == 0
    core.store.record(candidate.token, result(candidate, **(FAILED if fails else {})))


def search(url: str, workers: int, rng: random.Random, **changes: Any) -> None:
    """Until the budget's end, or the death."""
    with Store.open(url) as store:
        core = start(plan(**{**DRILL, **changes}), store)
        out: list[Candidate] = []
        while True:
            while len(out) < workers and (candidate := core.ask()) is not None:
                out.append(candidate)
            if not out:
                core.close()
                return
            candidate = out.pop(rng.randrange(len(out)))
            evaluate(core, candidate)
            core.settle(candidate.number)


def killed(url: str, deaths: int, rng: random.Random, workers: int, **changes: Any) -> int:
    """A search that dies so often, at random; then to its end. How often it really died."""
    died = 0
    for _ in range(deaths):
        with dying(rng.randrange(3, 12), rng.random() < 0.5):
            try:
                search(url, workers, rng, **changes)
            except Death:
                died += 1
    search(url, workers, rng, **changes)
    return died


def outcome(url: str) -> list[tuple[str, str, Any]]:
    """Digest, state and values of each trial."""
    with Store.open(url, create=False) as store:
        trials = optuna_trials(store)
        runs = [run for record in store.trials("shapes") for run in record.runs]
        evaluated = {run.evaluation.id for run in runs if run.evaluation is not None}
        assert len(evaluated) == len(runs) == store.info().rows["nas_evaluation"]
    return [(t.user_attrs["arch digest"], t.state.name, t.values) for t in trials]


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("random", {}),
        ("grid", {}),
        ("tpe", {"startup_trials": 3}),
        ("ehvi", {"startup_trials": 3}),
        ("nsga2", {"population_size": 3}),
        ("nsga3", {"population_size": 3}),
        ("evolution", {"population_size": 3}),
    ],
)
def test_one_worker_goes_on_as_if_nothing_had_happened(
    sampler: str, options: dict[str, Any], tmp_path: Path
) -> None:
    rng, options = random.Random(sampler), {"name": sampler, **options}
    whole, cut = (f"sqlite:///{tmp_path / name}.db" for name in ("whole", "cut"))
    search(whole, 1, rng, sampler=options)
    assert killed(cut, 4, rng, 1, sampler=options) >= 3
    assert outcome(cut) == outcome(whole)


def test_a_ladder_of_rungs_goes_on_as_well(tmp_path: Path) -> None:
    rng = random.Random(5)
    rungs = [{"epochs": epochs, "resolution": 32} for epochs in (1, 3)]
    whole, cut = (f"sqlite:///{tmp_path / name}.db" for name in ("whole", "cut"))
    search(whole, 1, rng, fidelities=rungs)
    assert killed(cut, 8, rng, 1, fidelities=rungs) >= 6
    assert outcome(cut) == outcome(whole)
    assert "PRUNED" in {state for _, state, _ in outcome(cut)}


def test_several_workers_lose_nothing(url: str, tmp_path: Path) -> None:
    """Fourteen deaths on each kind of database; what is drawn does not hang on who ends first."""
    rng = random.Random(3)
    whole = f"sqlite:///{tmp_path / 'whole.db'}"
    search(whole, 1, rng)
    assert killed(url, 14, rng, 3) == 14
    assert outcome(url) == outcome(whole)
    assert len(outcome(url)) == TRIALS
