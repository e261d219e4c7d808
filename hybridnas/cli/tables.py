"""`hybridnas table`: studies of a small space as a tabular benchmark, and what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from ..counting import number_of
from ..errors import ConfigError
from ..search.tabulate import Tabulated, tabulate
from ..search.view import StudyView
from ..store import Store
from ..tables import Table, read_table
from ..tables.analysis import Analysis, Effect, analyse, rank_of
from ..tables.writing import card_of, check_card, check_file, write_table
from .common import DEFAULT_STORAGE, AsJson, Storage, console, in_units, print_json, print_table
from .folding import say
from .resolve import known_study
from .tabular import keeps_words

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
            "there is no card, and `table show` and `bench search` cannot read it.",
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Replace FILE and its card, or that of another table, if they are there.",
        ),
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write what studies have trained of a space as a table: a row an architecture.

    Columns are its decisions, MACs and parameters, and for each training by rung and seed what was
    measured and the seconds it took. Studies with other seeds add columns, so a table with three
    seeds is three studies with `--set seed=0`, 1 and 2, also from several machines (`hybridnas
    db merge`). The card says where the figures are from; `table show` and `bench search` read it.

    Example: `hybridnas table export grid-0 grid-1 --out grid.parquet`, then
    `hybridnas table show grid.parquet`
    """
    check_file(out, force)
    with Store.open(storage, create=False) as store:
        views = [StudyView(known_study(name), store) for name in dict.fromkeys(studies)]
    found = tabulate(views, out.stem, metric)
    if found.card is None and not partial:
        more = "go on with the search (--resume), or write" if found.combined else "write"
        raise ConfigError(
            f"{_lack(found)}; {more} the figures alone, which `table show` and `bench search` "
            f"cannot read (--partial)"
        )
    if found.card is not None:
        check_card(out, force)
    _write(found, out)


def _write(found: Tabulated, out: Path) -> None:
    removed = write_table(found.columns, found.card, out)
    rows = len(found.columns["macs"])
    if found.card is None:
        say(
            f"written: {out} ({number_of(rows, 'architecture')}), without a card, so that `table "
            f"show` and `bench search` cannot read it: {_lack(found)}"
        )
        if removed:
            say(f"removed: {card_of(out)}, the card of what {out.name} held before")
    else:
        say(f"written: {out} ({number_of(rows, 'architecture')}) and {card_of(out)}")


def _lack(found: Tabulated) -> str:
    if not found.combined:
        return (
            "some decisions count for nothing in some architectures (an option of a mixer that is "
            "not there, say), so that several combinations of choices are one architecture; a "
            "table with a card has another one for each combination"
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
            help="digits or layouts81 (shipped), nas_bench_macro (with --data), a card's YAML, or "
            "the figures that it stands beside (.parquet, .csv).",
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
    together; the best, with the standard error of their means. With one seed there is no noise to
    judge by, so no intervals, and noise is in all figures.

    Example: `hybridnas table show layouts81 --rank gated_conv,gated_conv,attention,attention`
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
    _print_places(read, found, places, bool(wanted))


def _print_places(
    table: Table, found: Analysis, places: Sequence[Mapping[str, Any]], asked: bool
) -> None:
    error = found.mean_error
    figures = [table.metric, *([] if error is None else ["+-"]), *table.costs]
    columns = ["rank", *table.genes, *figures]
    rows = [
        [
            str(p["rank"]),
            *map(str, p["choices"].values()),
            f"{p['score']:.4f}",
            *([] if error is None else [f"{error:.4f}"]),
            *map(in_units, p["costs"].values()),
        ]
        for p in places
    ]
    if not keeps_words(columns, rows, console().width):  # then the choices share a column
        several = slice(1, 1 + len(table.genes))
        for row in (columns, *rows):
            row[several] = [", ".join(row[several])]
    print_table(
        f"Best by the mean of {number_of(found.seeds, 'seed')}"
        + (", and those asked for" if asked else ""),
        columns,
        rows,
    )
    if error is not None:
        say(f"+-: the standard error of a mean of {number_of(found.seeds, 'seed')}, of all alike")
    say(
        f"chosen among {found.architectures}, the best were lucky, too: their scores flatter, "
        f"other seeds would judge them"
    )


def _print_analysis(table: Table, found: Analysis) -> None:
    say(
        f"{table.name}: {number_of(found.architectures, 'architecture')} x "
        f"{number_of(found.seeds, 'seed')}\n"
        f"{table.metric} {found.low:.4f} to {found.high:.4f}, mean {found.mean:.4f}\n"
        f"{_spread_words(found)}"
    )
    hidden = found.spread == 0
    print_table(
        "What decides: share of the variance between architectures"
        + ("" if found.noise is None else ", seeds' noise taken off; p of each F test by itself"),
        ("decision", "share", *([] if found.noise is None else ["p"])),
        [
            [
                " and ".join(term.genes) or "three and more together",
                "-" if hidden else f"{100 * term.share:z.1f} %",
                *([] if found.noise is None else ["-" if term.p is None else f"{term.p:.2g}"]),
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


def _spread_words(found: Analysis) -> str:
    """How far architectures differ, and how much of that the decisions make one by one."""
    between = f"standard deviation between architectures {found.spread:.4f}"
    one_by_one = f"{100 * found.additive:z.0f} %"
    if found.noise is None:
        return (
            f"{between}, seeds' noise in it\n"
            f"with one seed that noise is not known, and it is in all of these figures: shares, "
            f"effects and ranks may be its doing; decisions one by one make {one_by_one} of what "
            f"was seen"
        )
    between = f"{between} (seeds' noise taken off), between seeds {found.noise:.4f}"
    if found.spread == 0:
        return (
            f"{between}\narchitectures differ no more than seeds' noise makes them: it hides any "
            f"difference that there is, and there are no shares of it; more seeds may show one"
        )
    return (
        f"{between}\ndecisions one by one explain {one_by_one} of the difference (estimates: "
        f"shares may leave 0 to 100 %)"
    )


def _effect_words(effect: Effect) -> str:
    """`+0.0120 [+0.0080, +0.0160]`"""
    if effect.margin is None:
        return f"{effect.better:+z.4f}"
    low, high = effect.better - effect.margin, effect.better + effect.margin
    return f"{effect.better:+z.4f} [{low:+z.4f}, {high:+z.4f}]"


def _row_of(table: Table, words: str) -> int:
    """Raises ConfigError for choices that the table does not have."""
    given = words.split(",")
    if len(given) != len(table.genes):
        example = ",".join(str(values[-1]) for values in table.genes.values())
        raise ConfigError(
            f"--rank {words!r} names {number_of(len(given), 'choice')}, needed is one for each of "
            f"{', '.join(table.genes)}: --rank {example}, for example"
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
