"""Points drawn with characters, read back."""

from __future__ import annotations

import pytest

from hybridnas.cli.dots import Group, Scale, scatter


@pytest.mark.parametrize("is_log", [False, True])
def test_points_stand_where_their_figures_say(is_log: bool) -> None:
    x = Scale(1.0, 100.0, "{:g}".format, is_log)
    y = Scale(0.0, 1.0, "{:g}".format)
    points = [(1.0, 0.0), (100.0, 1.0), (10.0, 0.5)]
    lines = scatter([Group(points, "o", "red")], x, y, 11, 5)
    drawn = [line.plain for line in lines]
    middle = "     o" if is_log else " o"  # half of the way, or 9 / 99 of it
    assert [line.rstrip() for line in drawn] == [
        "1           o",
        "",
        "  " + middle,
        "",
        "0 o",
        "  1       100",
    ]


def test_the_last_group_is_seen() -> None:
    scale = Scale(0.0, 1.0, "{:g}".format)
    groups = [Group([(0.0, 0.0), (1.0, 1.0)], ".", "red"), Group([(0.0, 0.0)], "o", "blue")]
    lines = scatter(groups, scale, scale, 5, 2)
    assert [line.plain for line in lines[:2]] == ["1     .", "0 o    "]
    assert "blue" in [span.style for span in lines[1].spans]


def test_equal_figures_stand_in_the_middle() -> None:
    same = Scale(2.0, 2.0, "{:g}".format, is_log=True)
    assert same.place(2.0, 9) == 4
