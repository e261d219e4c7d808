"""What somebody who watches a search is told."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass

from ..store import FIRST, Place
from .feasibility import Subject
from .problem import Terms


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture that is to be evaluated under the terms of a rung.

    token: the lease that its result must carry. costs: macs, params and what else is known of it
    in closed form; recorded: of these, what its evaluation is to hold. place: which of its trial's
    evaluations; stage: that in words. keeps_weights: its weights may be asked for later.
    """

    number: int
    token: str
    architecture: Subject
    digest: str
    costs: Mapping[str, float]
    protocol: Terms
    recorded: Mapping[str, float]
    place: Place = FIRST
    stage: str = ""
    keeps_weights: bool = True

    @property
    def rung(self) -> int:
        return self.place.rung

    @property
    def repeat(self) -> int:
        return self.place.repeat


@dataclass(frozen=True, slots=True)
class Finished:
    """How a candidate's evaluation ended. reused: it had been evaluated before.

    metrics: with those of tasks that were evaluated before it, as objectives are called.
    begins: it was its trial's first. counts: with it the trial ended well, within all constraints.
    stage: see Candidate.
    """

    number: int
    short: str
    costs: Mapping[str, float]
    metrics: Mapping[str, float | None]
    seconds: float
    reason: str | None
    message: str | None
    reused: bool
    begins: bool = True
    counts: bool = True
    stage: str = ""


class Observer(typing.Protocol):
    """A view of a running search; called from the search's own thread."""

    def began(self, done: int) -> None:
        """How many trials an earlier run of the study had finished."""

    def started(self, candidate: Candidate) -> None: ...

    def epoch(self, number: int, done: int, total: int, loss: float, where: str) -> None:
        """where: the node that it trains on, and its GPU where it has one."""

    def finished(self, result: Finished) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """An observer that looks away."""

    def began(self, done: int) -> None: ...

    def started(self, candidate: Candidate) -> None: ...

    def epoch(self, number: int, done: int, total: int, loss: float, where: str) -> None: ...

    def finished(self, result: Finished) -> None: ...

    def note(self, text: str) -> None: ...
