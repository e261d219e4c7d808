"""Which candidates ended without a result, when each is tried again, and who is given up.

The process of a candidate dies for the candidate's own fault, with its node, or because no worker
can work. The first is tried again some times, the second does not count, the third ends the search.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# After the first loss, the second, and all later ones. Ray takes 15 s to know of a killed node:
# the last pause is waited for before a candidate is given up.
_PAUSES_S = (1.0, 4.0, 25.0)
_EXCUSED_AT_MOST = 10
_GIVEN_UP_AT_MOST = 4


@dataclass(slots=True)
class _Attempts:
    """Of one candidate. began: the latest; gone: nodes that were down then. lost: those that count.
    due: when the pause is over, of a candidate that was lost."""

    digest: str
    began: float = 0.0
    gone: frozenset[str] = frozenset()
    lost: int = 0
    excused: int = 0
    due: float | None = None


class Retries:
    """Attempts of candidates, by their numbers. In memory: a resumed search counts anew."""

    def __init__(
        self,
        most: int,
        gone: Callable[[], frozenset[str]] = frozenset,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """most: how often a candidate is tried again. gone: the nodes that are down, now."""
        self._most, self._gone, self._clock = most, gone, clock
        self._attempts: dict[int, _Attempts] = {}
        self._given_up: set[str] = set()  # digests, since the last result
        self._gave_up_at: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether somebody is still to be tried again, or given up."""
        return any(attempts.due is not None for attempts in self._attempts.values())

    @property
    def hopeless(self) -> bool:
        """Whether the workers are at fault, not the candidates: several architectures were given
        up one after the other, with no result of any other since."""
        return len(self._given_up) >= _GIVEN_UP_AT_MOST

    def began(self, number: int, digest: str) -> None:
        """An attempt was given out. digest: of the architecture."""
        attempts = self._attempts.setdefault(number, _Attempts(digest))
        attempts.began, attempts.gone = self._clock(), self._gone()

    def lost(self, number: int) -> float:
        """An attempt ended without a result; the pause in seconds until `due` names it."""
        attempts = self._attempts[number]
        attempts.lost += 1
        place = -1 if attempts.lost > self._most else min(attempts.lost, len(_PAUSES_S)) - 1
        attempts.due = self._clock() + _PAUSES_S[place]
        return _PAUSES_S[place]

    def due(self) -> int | None:
        """Whose pause is over, the first one first."""
        now = self._clock()
        over = [(a.due, n) for n, a in self._attempts.items() if a.due is not None and a.due <= now]
        return min(over)[1] if over else None

    def goes_on(self, number: int) -> bool:
        """Whether one whose pause is over is tried again. It is given up when it was lost too
        often, where neither a node has gone since it began nor another one was given up since,
        whose fault it may have been."""
        attempts = self._attempts[number]
        attempts.due = None
        beside = self._gave_up_at is not None and attempts.began < self._gave_up_at
        excused = beside or not self._gone() <= attempts.gone
        if excused and attempts.excused < _EXCUSED_AT_MOST:
            attempts.excused += 1
            attempts.lost -= 1
        if attempts.lost <= self._most:
            return True
        del self._attempts[number]
        self._given_up.add(attempts.digest)
        self._gave_up_at = self._clock()
        return False

    def ended(self, number: int) -> None:
        """Somebody has a result, so the workers work."""
        self._attempts.pop(number, None)
        self._given_up.clear()
        self._gave_up_at = None
