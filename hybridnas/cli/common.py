"""Options and printing that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from ..counting import in_units as in_units
from ..search import DEFAULT_STORAGE as DEFAULT_STORAGE
from ..search.words import bound_words as bound_words
from ..search.words import fidelity_words as fidelity_words
from ..search.words import objective_text as objective_text
from .folding import say
from .tabular import table_of

Storage = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help="Database: sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST/NAME.",
        envvar="HYBRIDNAS_STORAGE",
        show_envvar=True,
    ),
]
StudyArgument = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A YAML file, a shipped study, or one in the database."),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="A Ray cluster: HOST:PORT of its head, or auto. Default: Ray started here.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override any key of the YAML, e.g. --set budget.trials=50 "
        "--set constraints.macs.max=4.5e9 --set task.data=DIR. May be repeated.",
    ),
]
ECHO = 4  # columns that what is drawn anew leaves free: a terminal shows ^C at the cursor, which
# must not wrap the line, or one of the old lines stays
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2))


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on stdout; see `table_of`."""
    out = console()
    out.print(title, style="bold")
    out.print(table_of([*columns], [[str(cell) for cell in row] for row in rows], out.width))


def say_written(*paths: Path) -> None:
    """On stderr, where it disturbs no JSON."""
    say(f"written: {' and '.join(map(str, paths))}", err=True)


def print_facts(title: str, facts: Iterable[tuple[str, object]]) -> None:
    """Names and values in two columns, without a frame."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, str(value))
    out = console()
    out.print(title, style="bold")
    out.print(table)


def console(stderr: bool = False) -> Console:
    """A console that neither wraps words nor colours them where nobody looks, and that prints
    brackets and colons as they are."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not made.is_terminal:
        made.width = 200
    return made


def loading(what: str = "PyTorch") -> Status:
    """What takes the time before a command's first line: for `with`, and `update` as it goes on.

    It is seen in a terminal alone, and leaves nothing there.
    """
    shown = console(stderr=True)
    shown.quiet = "RANK" in os.environ  # of torchrun, all of whose processes would say it
    return shown.status(f"loading {what} ...")
