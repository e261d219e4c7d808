"""How a comparison of samplers looks: tables, a CSV file, curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..search.bench.results import Results
from .common import objective_text, print_table

Row = Mapping[str, Any]

_FORMATS = (".svg", ".png", ".pdf")


def print_summary(
    results: Results, rows: Sequence[Row], looks: Sequence[int], first: str, target: int
) -> None:
    """Three tables: how good, how much better than the first sampler, and how proposals are.

    rows: of `summarise`; looks: numbers of trainings; target: those of `first` that count.
    """
    table = results.table
    limits = [
        f"{name} {word} {objective_text(name, value)}"
        for name, bound in table["constraints"].items()
        for word, value in (("at least", bound.get("min")), ("at most", bound.get("max")))
        if value is not None
    ]
    kept = f", {table['feasible']:,} keep {' and '.join(limits)}" if limits else ""
    words, digits = _measure_words(results)
    ends = " and ".join(f"{end:g}" for end in results.within if math.isfinite(end))
    print_table(
        f"{table['name']}: {table['rows']:,} architectures{kept}. {words[0].upper()}{words[1:]} "
        f"after so many trainings, mean [95 % interval, Student's t over seeds, cut at {ends}; "
        f"none where all seeds agree]",
        ("sampler", "seeds", *map(str, looks)),
        [
            [
                row["sampler"],
                row["seeds"],
                *(_interval(row[results.measure][n], digits) for n in looks),
            ]
            for row in rows
        ],
    )
    others = [row for row in rows if "difference" in row]
    if others:
        print_table(
            f"Less {first}'s, seed by seed [Student's t]; trainings to equal its {target} "
            f"[bootstrap over seeds]",
            ("sampler", *map(str, looks), f"to equal {target}"),
            [
                [
                    row["sampler"],
                    *(_interval(row["difference"][n], digits, "+") for n in looks),
                    _trainings(row["to_equal"], looks[-1]),
                ]
                for row in others
            ],
        )
    print_table(
        "A training: proposals that broke a constraint and were repaired, trainings that break one",
        ("sampler", "repaired", "infeasible", "CPU ms"),
        [
            [
                row["sampler"],
                f"{row['redrawn_per_training']:.2f}",
                f"{row['infeasible_per_training']:.2f}",
                f"{row['proposal_ms']:.1f}",
            ]
            for row in rows
        ],
    )


def _measure_words(results: Results) -> tuple[str, int]:
    """What samplers are judged by, and to how many digits."""
    if results.measure == "regret":
        metric = results.table["regret_of"]
        return f"regret in {metric}: how much worse what is found truly is than the best one", 4
    return "hypervolume in % of the true front's", 1


def write_summary(path: Path, measure: str, rows: Sequence[Row], looks: Sequence[int]) -> None:
    """A line a sampler and number of trainings, as CSV. measure: `Results.measure`. Raises
    ConfigError."""
    empty = {"value": "", "low": "", "high": ""}
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            names = (measure, "difference", "to_equal")
            ends = ("value", "low", "high")
            heads = [f"{name}_{end}" for name in names for end in ends]
            rest = ("redrawn_per_training", "infeasible_per_training", "proposal_ms")
            writer.writerow(["sampler", "seeds", "trainings", *heads, *rest])
            for row in rows:
                for n in looks:
                    parts = [row[measure][n], row.get("difference", {}).get(n, empty)]
                    parts.append(row.get("to_equal", empty))
                    cells = [part[end] for part in parts for end in ends]
                    writer.writerow([row["sampler"], row["seeds"], n, *cells, *map(row.get, rest)])
    except OSError as error:
        raise ConfigError(f"--out: {path} cannot be written ({error.strerror})") from None


def check_plot(path: Path) -> None:
    """Raises ConfigError without matplotlib, and for another file format."""
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--plot takes a file in {', '.join(_FORMATS)}, got {path.name!r}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError("--plot needs matplotlib: pip install 'hybridnas[plots]'") from None


def plot_curves(results: Results, path: Path) -> None:
    """Means over seeds after each training, with their 95 % bands. Raises ConfigError."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    trainings = range(1, results.trainings + 1)
    for name in results.arms:
        means = results.means(name)
        axes.plot(trainings, [mean.value for mean in means], label=name)
        low = [math.nan if mean.low is None else mean.low for mean in means]
        high = [math.nan if mean.high is None else mean.high for mean in means]
        axes.fill_between(trainings, low, high, alpha=0.2)
    axes.set(xlabel="trainings", ylabel=_measure_words(results)[0].partition(":")[0])
    axes.set_title(str(results.table["name"]))
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise ConfigError(f"--plot: {path} cannot be written ({error.strerror})") from None


def _interval(interval: Mapping[str, float | None], digits: int, sign: str = "") -> str:
    found = [interval[key] for key in ("value", "low", "high")]
    value, *ends = (f"{number:{sign}.{digits}f}" for number in found if number is not None)
    return f"{value} [{', '.join(ends)}]" if ends else value


def _trainings(interval: Mapping[str, float | None], most: int) -> str:
    """As whole numbers; what was not reached: `> 200`."""
    words = [
        f"> {most}" if math.isinf(number) else f"{number:.0f}"
        for number in (interval[key] for key in ("value", "low", "high"))
        if number is not None
    ]
    return words[0] if len(set(words)) == 1 else f"{words[0]} [{words[1]}, {words[2]}]"
