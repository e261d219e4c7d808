"""Points drawn with braille patterns, read back dot by dot."""

from __future__ import annotations

import pytest
from rich.text import Text

from hybridnas.cli.dots import Group, Scale, scatter


def dots_of(lines: list[Text], margin: int, width: int) -> set[tuple[int, int]]:
    """(column, row from below) of every dot that is set, by Unicode's own numbering of them."""
    columns = {1: 0, 2: 0, 3: 0, 7: 0, 4: 1, 5: 1, 6: 1, 8: 1}
    rows = {1: 0, 2: 1, 3: 2, 7: 3, 4: 0, 5: 1, 6: 2, 8: 3}
    found = set()
    for i, line in enumerate(lines):
        for j, letter in enumerate(line.plain[margin : margin + width]):
            bits = 0 if letter == " " else ord(letter) - 0x2800
            for number, column in columns.items():
                if bits >> (number - 1) & 1:
                    found.add((2 * j + column, 4 * len(lines) - 1 - (4 * i + rows[number])))
    return found


@pytest.mark.parametrize("is_log", [False, True])
def test_points_stand_where_their_figures_say(is_log: bool) -> None:
    width, height = 10, 3
    x = Scale(1.0, 100.0, "{:g}".format, is_log)
    y = Scale(0.0, 1.0, "{:g}".format)
    points = [(1.0, 0.0), (100.0, 1.0), (10.0, 0.5)]
    *lines, axis = scatter([Group(points, "red")], x, y, width, height)
    middle = round(0.5 * 19) if is_log else round(9 / 99 * 19)
    assert dots_of(lines, 2, width) == {(0, 0), (19, 11), (middle, round(0.5 * 11))}
    assert lines[0].plain.startswith("1 ")
    assert lines[-1].plain.startswith("0 ")
    assert axis.plain == "  1      100"


def test_the_last_group_gives_the_look() -> None:
    both = [Group([(0.0, 0.0)], "red"), Group([(0.0, 0.0)], "blue")]
    scale = Scale(0.0, 1.0, "{:g}".format)
    lines = scatter(both, scale, scale, 5, 2)
    (span,) = (span for span in lines[1].spans if span.style in ("red", "blue"))
    assert span.style == "blue"


def test_equal_figures_stand_in_the_middle() -> None:
    same = Scale(2.0, 2.0, "{:g}".format, is_log=True)
    assert same.place(2.0, 9) == 4
