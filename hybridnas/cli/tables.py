"""`hybridnas table`: studies of a small space as a tabular benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ..search.tabulate import Tabulated, tabulate
from ..search.view import StudyView
from ..store import Store
from ..tables.writing import card_of, check_file, write_table
from .common import DEFAULT_STORAGE, Storage
from .resolve import known_study

tables = typer.Typer(help="Make tables of results, which searches can be replayed on.")


def register(app: typer.Typer) -> None:
    app.add_typer(tables, name="table")


@tables.callback()
def group() -> None:
    """Make tables of results, which searches can be replayed on."""


@tables.command("export")
def export(
    studies: Annotated[
        list[str],
        typer.Argument(metavar="STUDY...", help="Of one space and one recipe; seeds may differ."),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help=".parquet or .csv; the card stands beside it (.yaml)."),
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What replays search by: top1, loss, miou, ... Default: the study's.",
            show_default=False,
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Also without some architectures, and then without a card."),
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write what studies have trained of a space as a table: a row an architecture.

    Columns are its decisions, MACs and parameters, and for each training by rung and seed what was
    measured and the seconds it took. Studies with other seeds add columns, so a table with three
    seeds is three studies with `--set seed=0`, 1 and 2, also from several machines (`hybridnas
    db merge`). The card says where the figures are from, and `bench search` reads it.

    Example: `hybridnas table export grid-0 grid-1 --out grid.parquet`, then
    `hybridnas bench search grid.yaml`
    """
    check_file(out)
    with Store.open(storage, create=False) as store:
        views = [StudyView(known_study(name), store) for name in dict.fromkeys(studies)]
    found = tabulate(views, out.stem, metric)
    if found.card is None and not partial:
        raise ConfigError(f"{_lack(found)}; go on with the search (--resume), or give --partial")
    write_table(found.columns, found.card, out)
    rows = len(found.columns["macs"])
    if found.card is None:
        typer.echo(f"written: {out} ({rows} architectures), without a card: {_lack(found)}")
    else:
        typer.echo(f"written: {out} ({rows} architectures) and {card_of(out)}")


def _lack(found: Tabulated) -> str:
    if found.lacking:
        size = found.lacking + len(found.columns["macs"])
        return f"{found.lacking} of {size} architectures have no training that ended well"
    return "no seed was trained with all architectures at one fidelity"
