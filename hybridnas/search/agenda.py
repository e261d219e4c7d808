"""What is to be evaluated next, and when there is nothing more."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from ..store import Place
from .observer import Candidate
from .problem import Problem
from .spending import Spending
from .standing import Standing

Job = tuple[int, Place]  # a trial by its number, and which of its evaluations


class Agenda:
    """The evaluations of a study that there are still to be, as far as they are decided.

    left: what an earlier run left unfinished. further: who goes on with another task at the rung
    where it is. exhausted: nothing that is new and fits is found any more.
    """

    def __init__(
        self,
        problem: Problem,
        standing: Standing,
        spending: Spending,
        running: Mapping[int, Candidate],
    ) -> None:
        self._problem, self._standing, self._spending = problem, standing, spending
        self._running = running
        self._spent: str | None = None
        self._width = 1  # candidates at once
        self.left: deque[Job] = deque()
        self.further: deque[Job] = deque()
        self.exhausted = False

    @property
    def stop_reason(self) -> str | None:
        """As of SearchCore."""
        spent = self._spending.over()
        if spent is not None:
            return spent
        over = None if self.left or self.further else self._search_is_over()
        if over is None or self._problem.final is None:
            return over
        return None if self._searching or self._standing.finals.left() else over

    def next(self) -> Job | None:
        """Of trials that there are: who goes on with another task or to a higher rung, and after
        the search who is trained again; None: nobody, or nobody yet."""
        if self.further:
            return self.further.popleft()
        if self._search_is_over() is not None:
            left = [] if self._searching else self._standing.finals.left()
            free = ((n, repeat) for n, repeat in left if n not in self._running)
            places = ((n, self._standing.next_place(n, self._problem.top, r)) for n, r in free)
            return next(((n, place) for n, place in places if place is not None), None)
        goes_on = self._standing.halving.next()
        return (
            None if goes_on is None else (goes_on[0], self._problem.first._replace(rung=goes_on[1]))
        )

    @property
    def may_propose(self) -> bool:
        return self._search_is_over() is None and self._wants_more

    def began(self) -> None:
        """A candidate was given out."""
        self._width = max(self._width, len(self._running))

    def _search_is_over(self) -> str | None:
        """Why the search itself ends, perhaps for the retraining to begin; None: it goes on."""
        final, finals = self._problem.final, self._standing.finals
        if final is not None and self._spent is None:
            running = [c.place for c in self._running.values() if not c.repeat]
            # A finalist is trained once at a time.
            width = min(final.retrain, max(self._width, self._spending.width))
            self._spent = self._spending.over(finals.to_come, width, running)
        if self._spent is not None:
            return self._spent
        if self._wants_more or self._standing.halving.next() is not None:
            return None
        last = (self._problem.top, self._problem.tasks[-1])
        going = (c.place for c in self._running.values() if not c.repeat)
        if any((place.rung, place.task) != last for place in going):
            return None
        return "exhausted" if self.exhausted and not self._standing.all_proposed else "trials"

    @property
    def _searching(self) -> bool:
        """Whether something runs whose score may decide who is trained again."""
        return any(not candidate.repeat for candidate in self._running.values())

    @property
    def _wants_more(self) -> bool:
        return not (self.exhausted or self._standing.all_proposed)
