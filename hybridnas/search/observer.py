"""What somebody who watches a search is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from ..architecture import Architecture


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposal that became a trial and is to be evaluated.

    token: the lease that its result must carry. costs: macs and params, in closed form.
    """

    number: int
    token: str
    architecture: Architecture
    digest: str
    costs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a candidate's evaluation ended. reused: it had been evaluated before."""

    number: int
    short: str
    costs: Mapping[str, float]
    metrics: Mapping[str, float | None]
    seconds: float
    reason: str | None
    message: str | None
    reused: bool


class Observer(Protocol):
    """A view of a running search; called from the search's own thread."""

    def began(self, done: int) -> None:
        """How many trials an earlier run of the study had finished."""

    def started(self, candidate: Candidate) -> None: ...

    def epoch(self, number: int, done: int, total: int, loss: float) -> None: ...

    def finished(self, result: Finished) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """An observer that looks away."""

    def began(self, done: int) -> None: ...

    def started(self, candidate: Candidate) -> None: ...

    def epoch(self, number: int, done: int, total: int, loss: float) -> None: ...

    def finished(self, result: Finished) -> None: ...

    def note(self, text: str) -> None: ...
