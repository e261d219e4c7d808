"""Tables that break no word as long as a terminal has room for the longest ones."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.table import Table

Rows = Sequence[Sequence[str]]


def keeps_words(columns: Sequence[str], rows: Rows, width: int) -> bool:
    """Whether a table so wide has room for the longest word of each column, if without lines."""
    return sum(_longest_words(columns, rows)) <= width - _gaps(len(columns))


def table_of(columns: Sequence[str], rows: Rows, width: int) -> Table:
    """Text to the left, numbers to the right. Where the longest words do not fit between lines,
    there are none."""
    least, most = _longest_words(columns, rows), _longest_lines(columns, rows)
    lines = 3 * len(columns) + 1
    if sum(least) <= width - lines or not keeps_words(columns, rows, width):
        table = Table(header_style="bold")
        room = width - lines
    else:
        table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        room = width - _gaps(len(columns))
    for i, column in enumerate(columns):
        numeric = all(_is_number(row[i]) for row in rows) and bool(rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    if sum(least) <= room < sum(most):
        for made, fitting in zip(table.columns, _widths(least, most, room), strict=True):
            made.width = fitting
    for row in rows:
        table.add_row(*row)
    return table


def _widths(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """What is short has all it needs; the others are alike, but for words that are longer."""
    capped = (
        [max(low, min(high, c)) for low, high in zip(least, most, strict=True)]
        for c in range(room, -1, -1)
    )
    return next(widths for widths in capped if sum(widths) <= room)


def _longest_words(columns: Sequence[str], rows: Rows) -> list[int]:
    return [
        max(cell_len(word) for word in " ".join(texts).split() or [""])
        for texts in zip(columns, *rows, strict=True)
    ]


def _longest_lines(columns: Sequence[str], rows: Rows) -> list[int]:
    return [
        max(cell_len(line) for line in "\n".join(texts).split("\n"))
        for texts in zip(columns, *rows, strict=True)
    ]


def _gaps(columns: int) -> int:
    return 2 * (columns - 1)


def _is_number(text: str) -> bool:
    return text.strip("-+%KMG ").replace(",", "").replace(".", "").isdigit() or text in ("", "-")
