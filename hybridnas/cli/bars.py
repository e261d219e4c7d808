"""Bars of characters, for tables in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..objectives import is_cost

_WIDTH = 10  # characters of a whole bar
_EIGHTHS = " ▏▎▍▌▋▊▉█"

WORDS = "bars: scores from the lowest of the front to its highest, costs as a share of its largest"


def bar(share: float) -> str:
    """Of a share of 1, to an eighth of a character; something even of nothing."""
    eighths = max(1, round(8 * _WIDTH * min(max(share, 0.0), 1.0)))
    return _EIGHTHS[-1] * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def front_bars(members: Sequence[Mapping[str, float]]) -> list[dict[str, str]]:
    """A bar for each objective of each member, as WORDS says. members: values by objective."""
    found: list[dict[str, str]] = [{} for _ in members]
    for name in members[0] if members else ():
        values = [member[name] for member in members]
        low, high = 0.0 if is_cost(name) else min(values), max(values)
        span = (high - low) or 1.0
        for bars, value in zip(found, values, strict=True):
            bars[name] = bar((value - low) / span)
    return found
