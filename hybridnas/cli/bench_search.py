"""`hybridnas bench search`: samplers, replayed on a table of results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from ..errors import ConfigError
from ..search.bench.arms import read_arm
from ..search.bench.results import Results, json_value, summarise
from .common import AsJson, console, print_json, say_written
from .folding import say
from .samplers_view import check_plot, plot_curves, print_summary, write_summary

_TARGET = 50  # trainings of the first sampler, which the others are to equal
_LOOKS = (25, 50, 100, 200)

TableName = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="digits or layouts81 (shipped), nas_bench_macro, a card's YAML, or the figures beside "
        "it.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The table's figures, CSV or Parquet, if not shipped."),
]
Samplers = Annotated[
    str,
    typer.Option(
        metavar="A,B,...",
        help="As a study names them, with options behind a plus, nsga2+population_size=50. "
        "plain-NAME: Optuna's own at its defaults, without repair. NAME@5: with 5 seeds only. "
        "The others are compared with the first.",
    ),
]
Looks = Annotated[
    str | None,
    typer.Option(
        metavar="N,...",
        help="When to look; the last ends a replay. Default: 25,50,100,200, or until a smaller "
        "table is through.",
        show_default=False,
    ),
]
Seeds = Annotated[int, typer.Option(min=1, metavar="N", help="Replays of each sampler.")]
Jobs = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Processes. Default: one a core.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help=".json: every replay, written as they come; .csv: the summary."
    ),
]
Keep = Annotated[bool, typer.Option("--keep", help="Go on with the replays in FILE (.json).")]
Plot = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Curves over trainings (.svg, .png, .pdf).")
]


def search(
    table: TableName = "digits",
    data: Data = None,
    samplers: Samplers = "ehvi,tpe,evolution,nsga2,random,plain-nsga2",
    trainings: Looks = None,
    seeds: Seeds = 10,
    jobs: Jobs = None,
    out: Out = None,
    keep: Keep = False,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Replay samplers on a table in which every architecture was trained: milliseconds a training.

    A search sees one run of each architecture; what it chooses by that is valued by the mean of
    all runs: hypervolume in % of the table's true front (with one objective, as where all MACs are
    equal: how much worse than the best it is, the regret), as the mean over seeds with a 95 %
    interval: Student's t; of the trainings to equal the first sampler a bootstrap over seeds, too
    narrow with fewer than some 20. Seeds are paired: the same noise, and the same random candidates
    to begin with.

    Examples: `hybridnas bench search` (a minute); `hybridnas bench search nas_bench_macro --data
    nb_macro.parquet --seeds 50 --out samplers.json`. A table of your own is a card of some ten
    lines beside a CSV file (hybridnas/tables/digits.yaml).
    """
    from ..search.bench.contest import Source, missing, replays

    _check(out, keep, plot)
    arms = [read_arm(text) for text in samplers.split(",")]
    source = Source(table, data)
    facts = source.describe()
    looks = _looks(trainings, facts["feasible"])
    found = Results(facts, looks[-1])
    if keep and out is not None and out.is_file():
        found = _kept(out, found)
    if trainings is None:
        _say_if_cut(looks)
    tasks = missing(arms, seeds, found)
    coming = replays(source, tasks, looks[-1], jobs or os.cpu_count() or 1)
    for result in track(coming, "replays", len(tasks), console=console(stderr=True)):
        found.replays.append(result)
        if out is not None and out.suffix == ".json":
            found.write(out, [])
    found.put_in_order([arm.name for arm in arms])
    first, target = arms[0].name, min(_TARGET, looks[-1])
    rows = summarise(found, looks, first, target)
    if out is not None:
        if out.suffix == ".json":
            found.write(out, rows)
        else:
            write_summary(out, found.measure, rows, looks)
        say_written(out)
    if plot is not None:
        plot_curves(found, plot)
        say_written(plot)
    if as_json:
        print_json(json_value({"table": found.table, "summary": rows}))
        return
    print_summary(found, rows, looks, first, target)


def _looks(text: str | None, feasible: int) -> list[int]:
    """Numbers of trainings, rising; as far as the table has so many. text: None: the default, whose
    last is at all of a smaller table."""
    if text is None:
        return sorted({min(number, feasible) for number in _LOOKS})
    words = text.split(",")
    if not all(word.strip().isdecimal() and int(word) for word in words):
        raise ConfigError(f"--trainings takes numbers with commas between, got {text!r}")
    looks = sorted({int(word) for word in words})
    possible = [number for number in looks if number <= feasible]
    if not possible:
        raise ConfigError(
            f"--trainings: {looks[0]} are too many, the table has {feasible} architectures that "
            f"keep its constraints"
        )
    return possible


def _say_if_cut(looks: list[int]) -> None:
    """That the table ends before the usual looks do."""
    if looks[-1] < _LOOKS[-1]:
        say(
            f"--trainings {','.join(map(str, looks))}: the table has {looks[-1]} architectures "
            f"that keep its constraints",
            err=True,
        )


def _check(out: Path | None, keep: bool, plot: Path | None) -> None:
    """Before minutes are spent. Raises ConfigError."""
    if out is not None and out.suffix not in (".json", ".csv"):
        raise ConfigError(f"--out takes a file in .json or .csv, got {out.name!r}")
    if keep and (out is None or out.suffix != ".json"):
        raise ConfigError("--keep goes on with a .json file of --out")
    if out is not None and not out.absolute().parent.is_dir():
        raise ConfigError(f"--out: there is no folder {out.absolute().parent}")
    if plot is not None:
        check_plot(plot)


def _kept(path: Path, wanted: Results) -> Results:
    """The replays of a file, of the same table. Raises ConfigError for another one."""
    known = Results.read(path)
    theirs = (known.table, known.trainings)
    if theirs != (json_value(wanted.table), wanted.trainings):
        raise ConfigError(
            f"--keep: {path} is of {known.table['name']} with {known.trainings} trainings, and "
            f"this is {wanted.table['name']} with {wanted.trainings}"
        )
    return known
