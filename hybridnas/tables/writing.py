"""Writes a table: its figures as Parquet or CSV, and the card beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..parts import Option
from ..whole_files import write_whole


def check_file(file: Path, force: bool = False) -> None:
    """Raises ConfigError for a name that no table has, whose card would replace something else (a
    study `grid` is often searched from grid.yaml), or that is taken, unless it is to be replaced.
    """
    if file.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"--out {file}: a table is a .parquet or a .csv file")
    if not file.parent.is_dir():
        raise ConfigError(f"--out {file}: there is no folder {file.parent}")
    card = card_of(file)
    if card.exists() and _read_card(card) is None:
        raise ConfigError(
            f"--out {file}: its card would replace {card}, which is none; take another name"
        )
    if file.is_file() and not force:
        raise ConfigError(f"--out {file} is there already: name another file, or give --force")


def check_card(file: Path, force: bool = False) -> None:
    """Raises ConfigError where a table's card would replace that of another table, of the same
    name but for its ending, unless it is to be replaced."""
    known = _read_card(card_of(file))
    if known is not None and known.get("file") != file.name and not force:
        whose = known.get("file") or "another table"
        raise ConfigError(
            f"--out {file}: its card would replace {card_of(file)}, that of {whose}; name another "
            f"file, or give --force"
        )


def _read_card(file: Path) -> dict[str, Any] | None:
    """None: there is no card in the file."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    known = isinstance(found, dict) and {"genes", "metric", "reference"} <= found.keys()
    return found if known else None


def card_of(file: Path) -> Path:
    """Where the card of a table's file stands."""
    return file.with_suffix(".yaml")


def write_table(
    columns: Mapping[str, Sequence[Option]], card: Mapping[str, Any] | None, file: Path
) -> bool:
    """Writes the figures and, if there is one, the card (`card_of`); each whole or not at all.

    The card of earlier figures in the same file goes before these are replaced: what is interrupted
    leaves figures without a card, which nobody reads, not under one that tells of others. Returns
    whether that card is gone for good. Raises ConfigError for a file that cannot be written.
    """
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    check_file(file, force=True)
    write = pyarrow.csv.write_csv if file.suffix == ".csv" else pyarrow.parquet.write_table
    table = pyarrow.table({name: list(values) for name, values in columns.items()})
    outdated = (_read_card(card_of(file)) or {}).get("file") == file.name

    def put(part: Path) -> None:
        write(table, part)
        if outdated:  # and a full disk, say, has not hindered the new figures
            card_of(file).unlink()

    try:
        write_whole(file, put)
        if card is not None:
            told = {**card, "file": file.name}
            text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100)
            write_whole(card_of(file), lambda part: part.write_text(text, encoding="utf-8"))
        return outdated and card is None
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise ConfigError(f"--out: {file} cannot be written ({reason})") from None
