"""Tables in a terminal of 80 columns keep names whole."""

from __future__ import annotations

import io

import pytest
from cli_helpers import Cli
from rich.console import Console
from screen_helpers import on_screen

from hybridnas.cli.tabular import keeps_words, table_of
from hybridnas.reference import REFERENCES

pytest_plugins = ["cli_helpers", "screen_helpers"]


def drawn(columns: list[str], rows: list[list[str]], width: int) -> list[str]:
    out = Console(file=io.StringIO(), record=True, width=width)
    out.print(table_of(columns, rows, width))
    return [line.rstrip() for line in out.export_text().splitlines()]


@pytest.mark.parametrize("width", range(10, 60))
def test_no_word_breaks_where_there_is_room_for_the_longest(width: int) -> None:
    columns, rows = ["name", "MACs G", "words"], [["a_long_name", "1.5", "so and so and so on"]]
    # With lines the longest words take 11 + 4 + 5 and ten characters of lines, else four of gaps.
    lines = drawn(columns, rows, width)
    assert keeps_words(columns, rows, width) == (width >= 24)
    assert any("a_long_name" in line for line in lines) == (width >= 24)
    assert ("\N{BOX DRAWINGS LIGHT VERTICAL}" in "".join(lines)) == (not 24 <= width < 30)
    assert max(map(len, lines)) <= width
    assert any("a_long_name     1.5  so and" in line for line in lines) == (27 <= width < 30)


def test_names_of_architectures_are_whole(cli: Cli, narrow: None) -> None:
    lines = on_screen(cli("archs").out)
    assert [line.split()[0] for line in lines[2:]] == list(REFERENCES)


def test_so_are_choices_in_a_table_of_results(cli: Cli, narrow: None) -> None:
    shown = "\n".join(on_screen(cli("table", "show").out))
    assert "stage1.mixer, stage2.depth," in shown
    assert "│    2 │ ssm, 2, ssm, 64, gated_conv        │ 0.9302 │ 0.0080 │ 587 K │" in shown
