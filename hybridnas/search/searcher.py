"""Ray Tune's view of a study: suggestions come from the core, and endings go to it."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from ..errors import ConfigError, DataError, HybridnasError, StoreError
from ..store import Store
from .observer import Candidate, Observer
from .retention import Pruning
from .retries import Retries

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

    def lost(self, number: int) -> None:
        """A candidate ended without a result; `ask` gives it out again, while the budget lasts."""

    def release(self) -> None:
        """What is running ended without a result (after an interruption)."""


class StudySearcher(Searcher):
    """Tune's searcher over some work. The database holds the state; Tune's snapshots none."""

    def __init__(
        self,
        core: Work,
        folder: str | None = None,
        retries: Retries | None = None,
        room: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """folder: where the study's weights are; None: none are kept. retries: of candidates that
        end without a result; None: there are none. room: for how many candidates there is, at this
        moment."""
        super().__init__(metric="number", mode="max")
        self._core, self._room, self._retries = core, room, retries or Retries(0)
        self._pruning = Pruning(core.name, core.store, folder) if folder is not None else None
        self._numbers: dict[str, int] = {}  # Tune's trial id -> the study's trial number
        self._last_words = "nothing was reported"
        self.stopping = False
        self.error: HybridnasError | None = None

    def suggest(self, trial_id: str) -> Any:
        """A candidate as Tune's config; None: none for now; Searcher.FINISHED when nothing is left
        that runs or is to be tried again: after that, Tune never asks."""
        candidate = None
        if not self.stopping and len(self._numbers) < self._room():
            candidate = self._told(self._next)
        if candidate is None:
            return Searcher.FINISHED if self.stopping or self._is_over else None
        self._numbers[trial_id] = candidate.number
        self._retries.began(candidate.number, candidate.digest)
        return {
            "number": candidate.number,
            "token": candidate.token,
            "architecture": candidate.architecture.to_json(),
            "protocol": candidate.protocol.to_json(),
            "costs": dict(candidate.recorded),
            "keep_weights": candidate.keeps_weights,
        }

    @property
    def _is_over(self) -> bool:
        busy = self._numbers or self._retries.waiting
        return not busy and self._core.stop_reason is not None

    def _next(self) -> Candidate | None:
        """First who was lost and has waited long enough."""
        while not self.stopping and (number := self._retries.due()) is not None:
            if not self._core.store.is_open(self._core.running[number].token):
                self._settle(number)  # its worker lived on, and wrote
            elif self._retries.goes_on(number):
                self._core.lost(number)
            else:
                self._give_up(number)
        return None if self.stopping else self._core.ask()

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        number = self._numbers[trial_id]
        if "fatal" in result:
            kind = DataError if result["kind"] == "DataError" else ConfigError
            self.fail(kind(result["fatal"] + _elsewhere(result)))
        elif "lost" in result:
            self._last_words = result["lost"]
            self.note(f"trial {number}: its process fails with {result['lost']}")
        elif "epoch" in result:
            if number in self._core.running:
                done, total = result["epoch"], result["num_epochs"]
                where = result.get("where", "")
                self._core.observer.epoch(number, done, total, result["loss"], where)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        number = self._numbers.pop(trial_id, None)
        if number is None or number not in self._core.running:
            return
        recorded = "recorded" in (result or {})
        if recorded or not self.stopping:  # else stopped half way: the core puts it back
            self._told(lambda: self._take_in(number, recorded))

    def _take_in(self, number: int, recorded: bool) -> None:
        if recorded or not self._core.store.is_open(self._core.running[number].token):
            self._settle(number)
            return
        self._core.store.mark(self._core.name, [number], "waiting")  # until a new lease
        pause_s = self._retries.lost(number)
        self.note(
            f"trial {number}: its process ended without a result; in {pause_s:.0f} s it is tried "
            f"again, or given up"
        )

    def _settle(self, number: int) -> None:
        self._core.settle(number)
        self._retries.ended(number)
        if self._pruning is not None:
            self._pruning.settled()

    def _give_up(self, number: int) -> None:
        self._core.settle(number)
        if self._retries.hopeless:
            self.fail(
                ConfigError(
                    f"one candidate after the other loses its process, and none has a result, so "
                    f"something is wrong with the workers ({self._last_words}); mend it and go on "
                    f"with --resume"
                )
            )

    def note(self, text: str) -> None:
        self._core.observer.note(text)

    def fail(self, error: HybridnasError) -> None:
        """Ends the search with an error; another thread may call it."""
        self.error, self.stopping = error, True

    def _told(self, work: Callable[[], _T]) -> _T | None:
        """What work returns; where the database refuses it, None, and the search ends."""
        try:
            return work()
        except StoreError as error:
            self.fail(error)
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
    """Ends Tune's run when the searcher says so."""

    def __init__(self, searcher: StudySearcher) -> None:
        self._searcher = searcher
        self._said = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        asked = self._searcher.stopping and self._searcher.error is None
        if asked and not self._said:
            self._said = True
            self._searcher.note(
                "ending: what runs is put back, for --resume; Ctrl-C again: at once"
            )
        return self._searcher.stopping

    def __getstate__(self) -> dict[str, Any]:
        return {}
