"""`hybridnas table`: studies of a small space as a tabular benchmark, and what it says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from ..search.tabulate import Tabulated, tabulate
from ..search.view import StudyView
from ..store import Store
from ..tables import Table, read_table
from ..tables.analysis import Analysis, Effect, analyse, rank_of
from ..tables.writing import card_of, check_file, write_table
from .common import DEFAULT_STORAGE, AsJson, Storage, in_units, print_json, print_table
from .resolve import known_study

tables = typer.Typer(
    help="Make tables of results, which searches can be replayed on, and read them."
)


def register(app: typer.Typer) -> None:
    app.add_typer(tables, name="table")


@tables.callback()
def group() -> None:
    """Make tables of results, which searches can be replayed on, and read them."""


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
        typer.Option(
            "--partial",
            help="Also without some architectures, or without some combinations of choices; then "
            "there is no card.",
        ),
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
        more = "go on with the search (--resume), or give" if found.combined else "give"
        raise ConfigError(f"{_lack(found)}; {more} --partial")
    removed = write_table(found.columns, found.card, out)
    rows = len(found.columns["macs"])
    if found.card is None:
        typer.echo(f"written: {out} ({rows} architectures), without a card: {_lack(found)}")
        if removed:
            typer.echo(f"removed: {card_of(out)}, the card of what {out.name} held before")
    else:
        typer.echo(f"written: {out} ({rows} architectures) and {card_of(out)}")


def _lack(found: Tabulated) -> str:
    if not found.combined:
        return (
            "some decisions apply to some architectures only, and what searches are replayed on "
            "has one for each combination of choices"
        )
    if found.lacking:
        size = found.lacking + len(found.columns["macs"])
        return f"{found.lacking} of {size} architectures have no training that ended well"
    return "no seed was trained with all architectures at one fidelity"


@tables.command("show")
def show(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="digits (shipped), nas_bench_macro (with --data), or a card's YAML.",
        ),
    ] = "digits",
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The figures, CSV or Parquet, if not beside the card."),
    ] = None,
    rank: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,...",
            help="Where an architecture stands, by its choices in the order of the decisions; may "
            "be repeated.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the best.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Say what a table says of its space: architectures against noise, and what decides.

    How far architectures differ and how far seeds of one do; which share of the difference the
    decisions make one by one, in pairs, and beyond (analysis of variance, seeds' noise taken off);
    how much better each choice is than the mean of all, with 95 % intervals for all of them
    together; the best. With one seed there is no noise to judge by, so no intervals.

    Example: `hybridnas table show grid.yaml --rank gated_conv,gated_conv,attention,attention`
    """
    read = read_table(table, data)
    found = analyse(read)
    best = sorted(range(read.size()), key=lambda row: rank_of(read, read.genome(row)))[:top]
    wanted = [_row_of(read, words) for words in rank or []]
    places = [_place(read, row) for row in dict.fromkeys([*best, *wanted])]
    if as_json:
        print_json({"table": read.name, "metric": read.metric, **asdict(found), "places": places})
        return
    _print_analysis(read, found)
    print_table(
        f"Best by the mean of {found.seeds} seed(s)" + (", and those asked for" if wanted else ""),
        ("rank", *read.genes, read.metric, *read.costs),
        [
            [
                p["rank"],
                *p["choices"].values(),
                f"{p['score']:.4f}",
                *map(in_units, p["costs"].values()),
            ]
            for p in places
        ],
    )


def _print_analysis(table: Table, found: Analysis) -> None:
    noise = f"{found.noise:.4f}" if found.noise is not None else "unknown (one seed)"
    typer.echo(
        f"{table.name}: {found.architectures} architectures x {found.seeds} seed(s)\n"
        f"{table.metric} {found.low:.4f} to {found.high:.4f}, mean {found.mean:.4f}\n"
        f"standard deviation between architectures {found.spread:.4f}, between seeds {noise}\n"
        f"decisions one by one explain {100 * found.additive:.0f} % of the difference (estimates: "
        f"shares may leave 0 to 100 %)"
    )
    print_table(
        "What decides: share of the variance between architectures; p of each F test by itself",
        ("decision", "share", "p"),
        [
            [
                " and ".join(term.genes) or "three and more together",
                f"{100 * term.share:.1f} %",
                "-" if term.p is None else f"{term.p:.2g}",
            ]
            for term in found.terms
        ],
    )
    print_table(
        f"Better than the mean of all, {table.metric}"
        + ("" if found.noise is None else " [95 % interval, all of them together]"),
        ("decision", "choice", "better"),
        [[effect.gene, str(effect.choice), _effect_words(effect)] for effect in found.effects],
    )


def _effect_words(effect: Effect) -> str:
    """`+0.0120 [+0.0080, +0.0160]`"""
    if effect.margin is None:
        return f"{effect.better:+.4f}"
    low, high = effect.better - effect.margin, effect.better + effect.margin
    return f"{effect.better:+.4f} [{low:+.4f}, {high:+.4f}]"


def _row_of(table: Table, words: str) -> int:
    """Raises ConfigError for choices that the table does not have."""
    given = words.split(",")
    if len(given) != len(table.genes):
        raise ConfigError(
            f"--rank {words!r} names {len(given)} choices; the table's decisions are "
            f"{', '.join(table.genes)}"
        )
    genome = {}
    for (gene, values), word in zip(table.genes.items(), given, strict=True):
        matching = [value for value in values if str(value) == word.strip()]
        if not matching:
            allowed = ", ".join(map(str, values))
            raise ConfigError(f"--rank: {gene} is one of {allowed}, got {word.strip()!r}")
        genome[gene] = matching[0]
    return table.row(genome)


def _place(table: Table, row: int) -> dict[str, Any]:
    genome = table.genome(row)
    return {
        "rank": rank_of(table, genome),
        "choices": genome,
        "score": float(table.truth[row]),
        "costs": table.cost_of(genome),
    }
