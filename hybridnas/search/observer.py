"""What somebody who watches a search is told."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass

from ..config import Protocol
from .feasibility import Subject


@dataclass(frozen=True, slots=True)
class Candidate:
    """One architecture that is to be evaluated under a protocol.

    token: the lease that its result must carry. costs: macs, params and what else is known of it
    in closed form.
    """

    number: int
    token: str
    architecture: Subject
    digest: str
    costs: Mapping[str, float]
    protocol: Protocol


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


class Observer(typing.Protocol):
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
