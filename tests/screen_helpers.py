"""A terminal in a few lines: what is on its screen, and what has left it at the top. A plug-in of
pytest.

PYTEST_DONT_REWRITE: tests import from here before the plug-in loads.
"""

from __future__ import annotations

import re

import pytest

_PIECES = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|.", re.DOTALL)


class Screen:
    """A file that a console writes to. Knows what rich sends: moves up, erasing of lines, colours.

    A row that is full wraps at the next character only, as in terminals.
    """

    def __init__(self, width: int = 80, height: int = 24) -> None:
        self._width, self._height = width, height
        self._rows: list[list[str]] = [[]]  # the last `height` of them are the screen
        self._row = self._column = 0

    def write(self, text: str) -> None:
        """As the terminal's driver passes it on: a new line begins at the left."""
        for piece in _PIECES.finditer(text):
            if piece[2] is None:
                self._take(piece[0])
            elif piece[2] == "A":
                self._row = max(self._top(), self._row - int(piece[1] or 1))
            elif piece[2] == "K":
                self._rows[self._row] = []
            elif piece[2] not in "mhl":  # colours, and whether the cursor is seen
                raise AssertionError(f"not known to this terminal: {piece[0]!r}")

    def flush(self) -> None: ...

    def lines(self) -> list[str]:
        """From the first that was written; empty ones at the end left out."""
        lines = ["".join(row).rstrip() for row in self._rows]
        return "\n".join(lines).rstrip("\n").split("\n")

    def _top(self) -> int:
        return max(0, len(self._rows) - self._height)

    def _take(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._next_row()
        else:
            if self._column == self._width:
                self._next_row()
            row = self._rows[self._row]
            row.extend(" " * (self._column + 1 - len(row)))
            row[self._column] = character
            self._column += 1

    def _next_row(self) -> None:
        self._row, self._column = self._row + 1, 0
        if self._row == len(self._rows):
            self._rows.append([])


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed goes to a terminal of 80 columns."""
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80"}.items():
        monkeypatch.setenv(name, value)


def on_screen(written: str) -> list[str]:
    """The lines of what was printed, in 80 columns."""
    screen = Screen(80, 1000)
    screen.write(written)
    return screen.lines()
