"""Tables in files: a card, in YAML, says what the columns of a CSV or Parquet file are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field, PositiveFloat, ValidationError, model_validator

from ..config import Constraints
from ..errors import ConfigError, DataError
from ..objectives import CLOSED_FORM, Direction
from ..recipe import Value
from ..resources import find
from ..strict_yaml import explain, read_yaml
from .table import Table, Trainings

if TYPE_CHECKING:
    import pyarrow

_FIGURES = (".csv", ".parquet")  # the endings of their files

Columns = Annotated[tuple[str, ...], Field(min_length=1)]


class CardFidelity(Value):
    """scores: the columns of a training's score, one a random seed. cost: of one training."""

    scores: Columns
    cost: PositiveFloat = 1.0


class Card(Value):
    """What a table holds. Names are those of columns.

    file: CSV or Parquet, beside the card; None: who reads the table says where it is.
    source, made_by: where the figures are from, and how to get them again.
    genes: the decisions; every combination of their values has one row.
    costs: known before training: macs, params, latency_ms.
    metric: what scores are called. fidelities: lowest first; the last counts.
    reference: the point that bounds the hypervolume, with a value of the metric and of those
        costs that are objectives, too.
    """

    name: str
    description: str = ""
    source: str = ""
    made_by: str = ""
    file: str | None = None
    genes: Columns
    costs: Columns
    metric: str
    direction: Direction = "maximize"
    fidelities: Annotated[tuple[CardFidelity, ...], Field(min_length=1)]
    constraints: Constraints = Constraints()
    reference: dict[str, float]

    @model_validator(mode="after")
    def _names_fit(self) -> Card:
        unknown = sorted(set(self.costs) - CLOSED_FORM)
        if unknown:
            raise ValueError(
                f"costs: {', '.join(unknown)} is none; allowed: {', '.join(sorted(CLOSED_FORM))}"
            )
        if soft := self.constraints.soft():
            raise ValueError(f"constraints: limits are on costs only, got {', '.join(soft)}")
        for key, names in (
            ("constraints", self.constraints.bounds()),
            ("reference", self.reference),
        ):
            strange = sorted(names.keys() - {*self.costs, *([self.metric] * (key == "reference"))})
            if strange:
                raise ValueError(f"{key}: the table has no {', '.join(strange)}")
        if self.metric not in self.reference:
            raise ValueError(f"reference: name {self.metric}, and those costs that are objectives")
        return self


def read_table(source: str | Path, data: Path | None = None) -> Table:
    """The table of a card: a shipped one by name, a YAML file, or the figures that it is beside.

    data: the file with the figures, where the card names none or another is meant. Raises
    ConfigError for a card that is wrong, DataError for a file that is missing or does not fit.
    """
    path = find("tables", source)
    if path.suffix in _FIGURES:
        path, data = _card_beside(path), data or path
    card = _parse(path)
    if data is None and card.file is None:
        raise ConfigError(
            f"table {card.name!r} does not ship its figures ({card.source}): say where they are "
            f"(--data FILE)"
        )
    file = data or path.parent / (card.file or "")
    columns = _read(file)
    wanted = [*card.genes, *card.costs, *(n for f in card.fidelities for n in f.scores)]
    lacking = [name for name in wanted if name not in columns.column_names]
    if lacking:
        raise DataError(f"{file}: no column {', '.join(lacking)} (table {card.name!r})")
    return _table(card, columns, file)


def _card_beside(figures: Path) -> Path:
    card = figures.with_suffix(".yaml")
    if not card.is_file():
        raise ConfigError(
            f"{figures} has no card beside it ({card}), which says what its columns are: "
            f"`hybridnas table export` writes one, not with --partial"
        )
    return card


def _parse(path: Path) -> Card:
    try:
        return Card.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error, Card)}") from None


def _read(file: Path) -> pyarrow.Table:
    import pyarrow.csv
    import pyarrow.parquet

    if file.suffix not in _FIGURES:
        raise DataError(f"{file}: a table is a file in {', '.join(_FIGURES)}")
    read = pyarrow.csv.read_csv if file.suffix == ".csv" else pyarrow.parquet.read_table
    try:
        return read(file)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise DataError(f"{file}: cannot be read ({str(error).splitlines()[0]})") from None


def _table(card: Card, columns: pyarrow.Table, file: Path) -> Table:
    values = {name: columns[name].to_pylist() for name in card.genes}
    genes = {name: tuple(dict.fromkeys(column)) for name, column in values.items()}
    rows = np.array([[genes[n].index(v) for v in column] for n, column in values.items()]).T

    def numbers(*names: str) -> np.ndarray:
        try:
            found = np.array([columns[name].to_pylist() for name in names], dtype=float).T
        except (TypeError, ValueError):
            found = np.array([np.nan])
        if not np.isfinite(found).all():
            raise DataError(f"{file}: {', '.join(names)} must hold a number in every row")
        return found

    return Table(
        card.name,
        genes,
        rows,
        {name: numbers(name)[:, 0] for name in card.costs},
        [Trainings(f.cost, numbers(*f.scores)) for f in card.fidelities],
        card.metric,
        card.direction,
        card.constraints.bounds(),
        card.reference,
    )
