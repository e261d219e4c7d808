"""Points in a terminal: two by four dots a character (Unicode's braille patterns).

No library: plotext was written anew between its versions 5 and 6, and this is all of it we need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

_BLANK = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of a character

Point = tuple[float, float]


@dataclass(frozen=True)
class Group:
    """Points of one look. style: rich's."""

    points: Sequence[Point]
    style: str


@dataclass(frozen=True)
class Scale:
    """An axis from its lowest figure to its highest; words: of a figure."""

    low: float
    high: float
    words: Callable[[float], str]
    is_log: bool = False

    def place(self, value: float, dots: int) -> int:
        """Which of so many dots a figure falls on, the lowest first."""
        turn = math.log if self.is_log else float
        low, high = turn(self.low), turn(self.high)
        share = (turn(value) - low) / (high - low) if high > low else 0.5
        return round(share * (dots - 1))


def scatter(groups: Sequence[Group], x: Scale, y: Scale, width: int, height: int) -> list[Text]:
    """Lines of text: `height` of them for the points and one below, with both axes' ends.

    width: characters for the points. Of points in one character the last group's look counts.
    """
    cells = [[(0, "")] * width for _ in range(height)]
    for group in groups:
        for across, up in group.points:
            column = x.place(across, 2 * width)
            row = 4 * height - 1 - y.place(up, 4 * height)
            bits, _ = cells[row // 4][column // 2]
            cells[row // 4][column // 2] = bits | _BITS[row % 4][column % 2], group.style
    top, bottom = y.words(y.high), y.words(y.low)
    margin = max(len(top), len(bottom)) + 1
    lines = []
    for i, row_cells in enumerate(cells):
        name = {0: top, height - 1: bottom}.get(i, "")
        line = Text(f"{name:>{margin - 1}} ", style="dim")
        for bits, style in row_cells:
            line.append(chr(_BLANK + bits) if bits else " ", style=style)
        lines.append(line)
    low, high = x.words(x.low), x.words(x.high)
    room = max(1, width - len(low) - len(high))
    lines.append(Text(f"{' ' * margin}{low}{' ' * room}{high}", style="dim"))
    return lines
