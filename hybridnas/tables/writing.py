"""Writes a table: its figures as Parquet or CSV, and the card beside them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..parts import Option


def check_file(file: Path) -> None:
    """Raises ConfigError for a name that no table has, or whose card would replace something else:
    a study `grid` is often searched from grid.yaml."""
    if file.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"--out {file}: a table is a .parquet or a .csv file")
    if not file.parent.is_dir():
        raise ConfigError(f"--out {file}: there is no folder {file.parent}")
    card = card_of(file)
    if card.exists() and not _is_card(card):
        raise ConfigError(
            f"--out {file}: its card would replace {card}, which is none; take another name"
        )


def _is_card(file: Path) -> bool:
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return False
    return isinstance(found, dict) and {"genes", "metric", "reference"} <= found.keys()


def card_of(file: Path) -> Path:
    """Where the card of a table's file stands."""
    return file.with_suffix(".yaml")


def write_table(
    columns: Mapping[str, Sequence[Option]], card: Mapping[str, Any] | None, file: Path
) -> None:
    """Writes the figures and, if there is one, the card (`card_of`); each whole or not at all.

    Raises ConfigError for a file that cannot be written.
    """
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    check_file(file)
    write = pyarrow.csv.write_csv if file.suffix == ".csv" else pyarrow.parquet.write_table
    table = pyarrow.table({name: list(values) for name, values in columns.items()})
    try:
        _replace(file, lambda part: write(table, part))
        if card is not None:
            text = yaml.safe_dump({**card, "file": file.name}, sort_keys=False, width=100)
            _replace(card_of(file), lambda part: part.write_text(text))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise ConfigError(f"--out: {file} cannot be written ({reason})") from None


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    part = file.with_name(file.name + ".part")
    try:
        write(part)
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
