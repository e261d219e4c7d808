"""`hybridnas bench search`: samplers, replayed on a table of results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from ..errors import ConfigError
from ..search.bench.arms import read_arm
from ..search.bench.results import Results, json_value, summarise
from .common import AsJson, console, print_json
from .samplers_view import check_plot, plot_curves, print_summary, write_summary

_SAMPLERS = "ehvi,tpe,evolution,nsga2,random,plain-nsga2"
_TRAININGS = "25,50,100,200"
_TARGET = 50  # trainings of the first sampler, which the others are to equal


def search(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE", help="digits (shipped), nas_bench_macro, or a card's YAML file."
        ),
    ] = "digits",
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The table's figures, CSV or Parquet, if not shipped."),
    ] = None,
    samplers: Annotated[
        str,
        typer.Option(
            metavar="A,B,...",
            help="As a study names them, with options behind a plus, nsga2+population_size=50. "
            "plain-NAME: Optuna's own at its defaults, without repair. NAME@5: with 5 seeds only. "
            "The others are compared with the first.",
        ),
    ] = _SAMPLERS,
    trainings: Annotated[
        str, typer.Option(metavar="N,...", help="When to look; a replay ends at the last.")
    ] = _TRAININGS,
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Replays of each sampler.")] = 10,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes. Default: one a core.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help=".json: every replay, written as they come; .csv: the summary."
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Go on with the replays that FILE (.json) holds.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Curves over trainings (.svg, .png, .pdf).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay samplers on a table in which every architecture was trained: milliseconds a training.

    A search sees one run of each architecture; what it chooses by that is valued by the mean of
    all runs: hypervolume in % of the table's true front, as the mean over seeds with a 95 %
    interval. Seeds are paired: the same noise, and the same random candidates to begin with.

    Examples: `hybridnas bench search` (a minute); `hybridnas bench search nas_bench_macro --data
    nb_macro.parquet --seeds 50 --out samplers.json`. A table of your own is a card of some ten
    lines beside a CSV file (hybridnas/tables/digits.yaml).
    """
    from ..search.bench.contest import Source, replays

    arms = [read_arm(text) for text in samplers.split(",")]
    source = Source(table, data)
    found = Results(source.describe(), 0)
    looks = _looks(trainings, found.table["feasible"])
    found.trainings = looks[-1]
    _check(out, keep, plot)
    if keep and out is not None and out.is_file():
        found = _kept(out, found)
    names = [arm.name for arm in arms]
    first, target = names[0], _TARGET if looks[-1] >= _TARGET else looks[-1]
    tasks = [
        (arm, seed)
        for seed in range(seeds)
        for arm in arms
        if seed < (arm.num_seeds or seeds) and not found.has(arm.name, seed)
    ]

    def summary() -> list[dict[str, Any]]:
        return summarise(found, looks, first, target)

    coming = replays(source, tasks, looks[-1], jobs or os.cpu_count() or 1)
    for result in track(coming, "replays", len(tasks), console=console(stderr=True)):
        found.replays.append(result)
        if out is not None and out.suffix == ".json":
            found.write(out, [])
    rows = summary()
    if out is not None:
        found.write(out, rows) if out.suffix == ".json" else write_summary(out, rows, looks)
    if plot is not None:
        plot_curves(found, plot)
    if as_json:
        print_json(json_value({"table": found.table, "summary": rows}))
        return
    print_summary(found.table, rows, looks, first, target)


def _looks(text: str, feasible: int) -> list[int]:
    """Numbers of trainings, rising; as far as the table has so many."""
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
