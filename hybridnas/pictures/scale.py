"""Where the marks of an axis stand."""

from __future__ import annotations

import math

from ..counting import in_units
from ..objectives import parted


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers around a range, three to seven of them: steps of 1, 2 or 5 times a power of
    ten."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * times for times in (1, 2, 5, 10) if power * times * 4 >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    if first == last:
        first, last = first - 1, last + 1
    return [i * step for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten around a range of positive numbers; of more than two powers
    the powers alone. Of a short range `round_ticks`, of which up to a ratio of 2.5 none is 0."""
    if high <= 2.5 * low:
        return round_ticks(low, high)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if math.log10(high / low) <= 2 else (1,)
    marks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    below = max((mark for mark in marks if mark <= low), default=marks[0])
    above = min((mark for mark in marks if mark >= high), default=marks[-1])
    return [mark for mark in marks if below <= mark <= above]


def mark_words(name: str, mark: float) -> str:
    """Of an objective at a round mark."""
    return round_words(mark) if parted(name)[1] in ("macs", "params") else f"{mark:g}"


def round_words(mark: float) -> str:
    """Of MACs or parameters at a round mark: `20 M`, where a figure would be `20.0 M`."""
    number, _, unit = in_units(mark).partition(" ")
    return f"{float(number):g} {unit}".rstrip()
