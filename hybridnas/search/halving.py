"""Asynchronous successive halving on several objectives: who has ended which rung, who goes on.

As in ASHA (Li et al., 2020) a candidate goes on as soon as it is among the best of its rung, and
nobody waits for a rung to fill. "Best" is by non-dominated layers and crowding within a bin of
MACs, so that small and large architectures both go on.

Nothing here is stored: what the database holds of runs is told again after a resume.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..pareto import best_first

_BINS = 4
_ROUNDING = 1e-9  # 0.7 x 10 is 7


@dataclass(frozen=True, slots=True)
class Ended:
    """A candidate's result at a rung. losses: all objectives, lower is better. size: its MACs.

    seeded: it goes on whatever its result (a reference), and counts for nobody else's turn.
    """

    number: int
    losses: tuple[float, ...]
    size: float
    seeded: bool = False


@dataclass
class _Rung:
    rate: float
    ended: dict[int, Ended] = field(default_factory=dict)
    went_on: set[int] = field(default_factory=set)


class Halving:
    """The rungs of a ladder but its top one, lowest first."""

    def __init__(self, rates: Sequence[float]) -> None:
        """rates: of each rung, the part of its candidates that go on."""
        self._rungs = [_Rung(rate) for rate in rates]
        self._out: set[int] = set()
        self._next: tuple[int, int] | None = None
        self._changed = False

    @property
    def top(self) -> int:
        """The rung that counts: 0 where there is only one."""
        return len(self._rungs)

    def ended(self, rung: int, result: Ended) -> None:
        """A candidate's run at a rung below the top ended well."""
        self._rungs[rung].ended[result.number] = result
        self._changed = True

    def begins(self, rung: int, number: int) -> None:
        """A candidate is given out to a rung; above the lowest it went on from the one below."""
        if rung > 0:
            self._rungs[rung - 1].went_on.add(number)
            self._changed = True

    def leaves(self, number: int) -> None:
        """A candidate's trial has ended: it will not go on."""
        self._out.add(number)
        self._changed = True

    def waiting(self) -> list[int]:
        """Who ended a rung and has not gone on, nor left."""
        found = {n for rung in self._rungs for n in rung.ended.keys() - rung.went_on}
        return sorted(found - self._out)

    def next(self) -> tuple[int, int] | None:
        """Who may go on, and to which rung; the highest rung first. None: nobody yet."""
        if self._changed:
            self._next, self._changed = self._find(), False
        return self._next

    def _find(self) -> tuple[int, int] | None:
        for rung in reversed(range(len(self._rungs))):
            number = self._who(self._rungs[rung])
            if number is not None:
                return number, rung + 1
        return None

    def _who(self, rung: _Rung) -> int | None:
        taken = rung.went_on | self._out
        seeds = (e.number for e in rung.ended.values() if e.seeded and e.number not in taken)
        first = next(seeds, None)
        if first is not None:
            return first
        field = [ended for ended in rung.ended.values() if not ended.seeded]
        gone = {ended.number for ended in field} & rung.went_on
        return promotable(field, gone, taken, rung.rate)


def quota(rate: float, number: int) -> int:
    """How many of so many go on."""
    return math.floor(rate * number + _ROUNDING)


def promotable(field: Sequence[Ended], gone: set[int], taken: set[int], rate: float) -> int | None:
    """Whose turn it is to leave a rung; None while rate x as many as ended have gone.

    field: who ended it. gone: who of them went on; taken: they, and who cannot any more. The field
    is cut into bins of equal numbers by size; the bin that has most to catch up comes first, and
    in it the best by layers and crowding.
    """
    places = quota(rate, len(field))
    if len(gone) >= places:
        return None
    bins = by_size(field, min(_BINS, places))
    lacking = [rate * len(members) - sum(m.number in gone for m in members) for members in bins]
    for place in sorted(range(len(bins)), key=lambda place: -lacking[place]):
        members = bins[place]
        if lacking[place] <= _ROUNDING:
            return None
        best = best_first(np.array([member.losses for member in members]))
        for row in best[: math.ceil(rate * len(members) - _ROUNDING)]:
            if members[row].number not in taken:
                return members[row].number
    return None


def by_size(field: Sequence[Ended], bins: int) -> list[list[Ended]]:
    """The field, smallest first, in so many bins whose numbers differ by one at most."""
    ordered = sorted(field, key=lambda ended: (ended.size, ended.number))
    edges = [round(i * len(ordered) / bins) for i in range(bins + 1)]
    return [ordered[low:high] for low, high in itertools.pairwise(edges)]
