"""Asynchronous successive halving on several objectives: who has ended which rung, who goes on.

As in ASHA (Li et al., 2020) a candidate goes on as soon as it is among the best of its rung, and
nobody waits for a rung to fill. "Best" is by non-dominated layers, and within a layer by bins of
MACs and crowding in them, so that small and large architectures both go on.

Nothing here is stored: what the database holds of runs is told again after a resume.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..pareto import crowding, layers

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

    field: who ended it. gone: who of them went on; taken: they, and who cannot any more. Of the
    first layer that has somebody left, it is the least crowded of the bin that fewest have left.
    """
    places = quota(rate, len(field))
    if len(gone) >= places:
        return None
    # Of equal losses the first counts as the end of a layer: the same one however they were told.
    field = sorted(field, key=lambda ended: ended.number)
    losses = np.array([ended.losses for ended in field])
    layer, bins = layers(losses), by_size(field)
    left = [row for row, ended in enumerate(field) if ended.number not in taken]
    if not left:
        return None
    first = min(layer[row] for row in left)
    if (layer < first).sum() >= places:
        return None  # those above fill the places, though some of them cannot go on any more
    room, departed = np.zeros(len(field)), [0] * _BINS
    for place in set(bins.tolist()):
        members = (layer == first) & (bins == place)
        room[members] = crowding(losses[members])
    for row, ended in enumerate(field):
        departed[bins[row]] += ended.number in gone
    chosen = min(
        (row for row in left if layer[row] == first),
        key=lambda row: (departed[bins[row]], -room[row], *losses[row], field[row].number),
    )
    return field[chosen].number


def by_size(field: Sequence[Ended]) -> NDArray[np.intp]:
    """The bin of each: equal parts of the range of the sizes' logarithms."""
    logs = np.log([max(ended.size, 1.0) for ended in field])
    share = (logs - logs.min()) / max(np.ptp(logs), 1e-12)
    return np.minimum((share * _BINS).astype(np.intp), _BINS - 1)
