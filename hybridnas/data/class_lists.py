"""The names of a set's classes, from the text file that lies beside its images.

objectInfo150.txt, objectInfo.txt: ADE20K's table, columns apart by tabs, with a header that has
    Idx (1, 2, ...) and Name.
classes.txt: one name a line.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError

_TABLES = ("objectInfo150.txt", "objectInfo.txt")
_LIST = "classes.txt"


def listed_classes(root: Path) -> tuple[str, ...] | None:
    """The names of labels 1, 2, ...; None: no such file. DataError: it cannot be understood."""
    for file in (root / name for name in (*_TABLES, _LIST)):
        if file.is_file():
            try:
                lines = [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{file} cannot be read: {error}") from None
            names = _table(file, lines) if file.name in _TABLES else lines
            return tuple(name.strip() for name in names)
    return None


def _table(file: Path, lines: list[str]) -> list[str]:
    header, *rows = [[cell.strip() for cell in line.split("\t")] for line in lines] or [[]]
    if not {"Idx", "Name"} <= set(header):
        raise DataError(f"{file}: its first line must name the columns Idx and Name, apart by tabs")
    index, name = header.index("Idx"), header.index("Name")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header) or row[index] != str(number):
            raise DataError(
                f"{file}: row {number} must have {len(header)} columns and Idx {number}, "
                f"got {' | '.join(row)}"
            )
    return [row[name] for row in rows]
