"""Options and printing that several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ..config import Bound, Fidelity
from ..objectives import parted
from ..search import DEFAULT_STORAGE as DEFAULT_STORAGE

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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, nothing else.")]


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    typer.echo(json.dumps(document, indent=2))


def print_table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """A table on stdout: text to the left, numbers to the right."""
    table = Table(header_style="bold")
    cells = [[str(cell) for cell in row] for row in rows]
    for i, column in enumerate(columns):
        numeric = all(_is_number(row[i]) for row in cells) and bool(cells)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*row)
    out = console()
    out.print(title, style="bold")
    out.print(table)


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


def _is_number(text: str) -> bool:
    return text.strip("-+%KMG ").replace(",", "").replace(".", "").isdigit() or text in ("", "-")


def in_units(value: float | None) -> str:
    """MACs or parameters with three significant digits: 4.49 G, 28.1 M."""
    if value is None:
        return "-"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        scaled = value / size
        if abs(scaled) >= 0.9995:
            decimals = sum(abs(scaled) < edge for edge in (9.995, 99.95))
            return f"{scaled:.{decimals}f} {unit}"
    return f"{value:.0f}"


def objective_text(name: str, value: float) -> str:
    """An objective's value as people read it."""
    _, own = parted(name)
    if own in ("latency_ms", "train_hours"):
        return f"{value:.3f}"
    if own == "memory_mb":
        return f"{value:.0f}"
    return in_units(value) if own in ("macs", "params") else f"{value:.4f}"


def bound_words(bounds: Mapping[str, Bound]) -> str:
    """`macs at most 4.50 G, top1 at least 0.7000`."""
    return ", ".join(
        f"{name} {word} {objective_text(name, value)}"
        for name, bound in bounds.items()
        for word, value in (("at least", bound.min), ("at most", bound.max))
        if value is not None
    )


def epochs(number: int) -> str:
    return "1 epoch" if number == 1 else f"{number} epochs"


def fidelity_words(fidelity: Fidelity) -> str:
    """`15 epochs at 64 px of 25 % of the images`; `16,000 iterations at 512 px`."""
    steps = fidelity.iterations
    length = epochs(fidelity.epochs) if steps is None else f"{steps:,} iterations"
    share = "" if fidelity.share == 1 else f" of {100 * fidelity.share:g} % of the images"
    return f"{length} at {fidelity.resolution} px{share}"
