"""Ray Tune's view of a study: suggestions come from the core, and endings go to it."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from ..errors import ConfigError, DataError, HybridnasError, StoreError
from ..store import Store
from .observer import Candidate, Observer
from .retention import Pruning

_HEARTBEAT_S = 15.0
_LOST_AT_MOST = 4  # in a row, before the workers are held to be at fault, not the candidates

_T = TypeVar("_T")


class Work(Protocol):
    """What Tune's workers are to do: a SearchCore, or given Trainings.

    running: what was asked for and not settled, by number.
    """

    name: str  # of the study
    store: Store
    observer: Observer
    running: dict[int, Candidate]

    @property
    def proposals(self) -> int: ...

    @property
    def redrawn(self) -> int: ...

    @property
    def stop_reason(self) -> str | None:
        """Why there is nothing more to ask for; None while there may be."""

    def ask(self) -> Candidate | None:
        """What to evaluate next; None: nothing, or nothing until something that runs has ended."""

    def settle(self, number: int) -> str | None:
        """Takes in what the store holds of a candidate; the reason of a failure."""

    def release(self) -> None:
        """What is running ended without a result (after an interruption)."""


class StudySearcher(Searcher):
    """Tune's searcher over some work. The database holds the state; Tune's snapshots none."""

    def __init__(
        self,
        core: Work,
        session: int,
        folder: str | None,
        room: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """folder: where the study's weights are; None: none are kept. room: for how many candidates
        there is, at this moment."""
        super().__init__(metric="number", mode="max")
        self._core, self._session, self._room = core, session, room
        self._pruning = Pruning(core.name, core.store, folder) if folder is not None else None
        self._numbers: dict[str, int] = {}  # Tune's trial id -> the study's trial number
        self._last_seen = 0.0
        self._lost_in_a_row = 0
        self._last_words = "nothing was reported"
        self.stopping = False
        self.error: HybridnasError | None = None

    def suggest(self, trial_id: str) -> Any:
        """A candidate as Tune's config; Searcher.FINISHED after the last; None: none for now."""
        self.beat()
        goes_on = not self.stopping and self._core.stop_reason is None
        if goes_on and len(self._numbers) >= self._room():
            return None
        candidate = None if self.stopping else self._told(self._core.ask)
        if candidate is None:
            last = self.stopping or self._core.stop_reason is not None
            return Searcher.FINISHED if last else None
        self._numbers[trial_id] = candidate.number
        return {
            "number": candidate.number,
            "token": candidate.token,
            "architecture": candidate.architecture.to_json(),
            "protocol": candidate.protocol.to_json(),
            "costs": dict(candidate.recorded),
            "keep_weights": candidate.keeps_weights,
        }

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.beat()
        number = self._numbers[trial_id]
        if "fatal" in result:
            kind = DataError if result["kind"] == "DataError" else ConfigError
            self.error = kind(result["fatal"] + _elsewhere(result))
            self.stopping = True
        elif "lost" in result:
            self._last_words = result["lost"]
            self._core.observer.note(f"trial {number}: its process fails with {result['lost']}")
        elif "epoch" in result:
            if number in self._core.running:
                done, total = result["epoch"], result["num_epochs"]
                self._core.observer.epoch(number, done, total, result["loss"])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number = self._numbers.pop(trial_id, None)
        if number is None or number not in self._core.running:
            return
        if self.stopping and not (result or {}).get("recorded"):
            return  # stopped half way: the core puts it back into the queue
        lost = self._told(lambda: self._core.settle(number)) == "node_lost"
        if self._pruning is not None:
            self._told(self._pruning.settled)
        self._lost_in_a_row = self._lost_in_a_row + 1 if lost else 0
        if self._lost_in_a_row >= _LOST_AT_MOST:
            self.stopping = True
            self.error = ConfigError(
                f"{self._lost_in_a_row} candidates in a row lost their process, so something is "
                f"wrong with the workers ({self._last_words}); mend it and go on with --resume"
            )

    def beat(self) -> None:
        """A sign of life in the database, now and then."""
        if time.monotonic() - self._last_seen > _HEARTBEAT_S:
            self._last_seen = time.monotonic()
            counts = self._core.proposals, self._core.redrawn
            self._told(lambda: self._core.store.heartbeat(self._session, *counts))

    def _told(self, work: Callable[[], _T]) -> _T | None:
        """What work returns; where the database refuses it, None, and the search ends."""
        try:
            return work()
        except StoreError as error:
            self.error, self.stopping = error, True
            return None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search is resumed from the database."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search is resumed from the database."""

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher into the experiment's folder; the core holds the database.
        return {}


def _elsewhere(result: dict[str, Any]) -> str:
    """` (on HOST)` where Tune had the result from another machine."""
    host = result.get("hostname", platform.node())
    return "" if host == platform.node() else f" (on {host})"


class StopWhenAsked(Stopper):
    """Ends Tune's run when the searcher says so; it also keeps the session's heartbeat going."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self._searcher.beat()
        return self._searcher.stopping

    def __getstate__(self) -> dict[str, Any]:
        return {}
