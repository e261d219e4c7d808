"""Writes a table: its figures as Parquet or CSV, and the card beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    """Writes the figures and, if there is one, the card (`card_of`); each whole or not at all."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    check_file(file)
    write = pyarrow.csv.write_csv if file.suffix == ".csv" else pyarrow.parquet.write_table
    part = file.with_name(file.name + ".part")
    write(pyarrow.table({name: list(values) for name, values in columns.items()}), part)
    part.replace(file)
    if card is not None:
        text = yaml.safe_dump({**card, "file": file.name}, sort_keys=False, width=100)
        part = card_of(file).with_name(card_of(file).name + ".part")
        part.write_text(text)
        part.replace(card_of(file))
