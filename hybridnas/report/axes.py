"""Two axes of a plot, with their marks: from figures to pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..pictures.scale import log_ticks, round_ticks
from ..pictures.svg import Drawing, text_width

SMALL = 11  # size of the words on axes


@dataclass(frozen=True)
class Axis:
    """low, high: the figures at its ends. words: of a mark."""

    name: str
    low: float
    high: float
    marks: Sequence[float]
    words: Callable[[float], str]
    is_log: bool = False

    def share(self, value: float) -> float:
        """Of the way from its low end to its high one."""
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear(
    name: str, values: Sequence[float], words: Callable[[float], str] = "{:.4g}".format
) -> Axis:
    marks = round_ticks(min(values), max(values))
    return Axis(name, marks[0], marks[-1], marks, words)


def logarithmic(name: str, values: Sequence[float], words: Callable[[float], str]) -> Axis:
    """Around positive numbers, with a little room at its ends."""
    low, high = min(values) / 1.06, max(values) * 1.06
    marks = [mark for mark in log_ticks(low, high) if low <= mark <= high]
    return Axis(name, low, high, marks, words, is_log=True)


@dataclass(frozen=True)
class Frame:
    """Where a plot stands in its drawing, in pixels."""

    across: Axis
    up: Axis
    left: float
    top: float
    width: float
    height: float

    def at(self, x: float, y: float) -> tuple[float, float]:
        return (
            self.left + self.width * self.across.share(x),
            self.top + self.height * (1 - self.up.share(y)),
        )

    def draw(self, drawing: Drawing, *, up_words: bool = True) -> None:
        """Lines behind the plot, marks, and the axes' names."""
        bottom = self.top + self.height
        for mark in self.up.marks:
            y = self.at(self.across.low, mark)[1]
            drawing.rect(self.left, y - 0.25, self.width, 0.5, look="grid")
            if up_words:
                words = self.up.words(mark)
                x = self.left - 8 - text_width(words, SMALL)
                drawing.text(x, y + 4, words, size=SMALL, look="soft")
        for mark in self.across.marks:
            x = self.at(mark, self.up.low)[0]
            drawing.rect(x - 0.25, self.top, 0.5, self.height, look="grid")
            words = self.across.words(mark)
            centred = x - text_width(words, SMALL) / 2
            drawing.text(centred, bottom + 16, words, size=SMALL, look="soft")
        centred = self.left + (self.width - text_width(self.across.name)) / 2
        drawing.text(centred, bottom + 36, self.across.name)
        if up_words:
            drawing.text(self.left, self.top - 10, self.up.name)
