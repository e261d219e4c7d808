"""Points in a terminal, one character each.

No library: plotext was written anew between its versions 5 and 6, and this is all of it we need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.text import Text

Point = tuple[float, float]


@dataclass(frozen=True)
class Group:
    """Points of one look: a character in a style of rich's."""

    points: Sequence[Point]
    mark: str
    style: str


@dataclass(frozen=True)
class Scale:
    """An axis from its lowest figure to its highest; words: of a figure."""

    low: float
    high: float
    words: Callable[[float], str]
    is_log: bool = False

    def place(self, value: float, cells: int) -> int:
        """In which of so many cells a figure falls, the lowest first."""
        turn = math.log if self.is_log else float
        low, high = turn(self.low), turn(self.high)
        share = (turn(value) - low) / (high - low) if high > low else 0.5
        return round(share * (cells - 1))


def scatter(groups: Sequence[Group], x: Scale, y: Scale, width: int, height: int) -> list[Text]:
    """Lines of text: `height` of them for the points and one below, with both axes' ends.

    width: characters for the points. Of points in one place the last group's is seen.
    """
    cells = [[(" ", "")] * width for _ in range(height)]
    for group in groups:
        for across, up in group.points:
            row = height - 1 - y.place(up, height)
            cells[row][x.place(across, width)] = group.mark, group.style
    top, bottom = y.words(y.high), y.words(y.low)
    margin = max(len(top), len(bottom)) + 1
    lines = []
    for i, row_cells in enumerate(cells):
        name = {0: top, height - 1: bottom}.get(i, "")
        line = Text(f"{name:>{margin - 1}} ", style="dim")
        for mark, style in row_cells:
            line.append(mark, style=style)
        lines.append(line)
    low, high = x.words(x.low), x.words(x.high)
    room = max(1, width - len(low) - len(high))
    lines.append(Text(f"{' ' * margin}{low}{' ' * room}{high}", style="dim"))
    return lines
