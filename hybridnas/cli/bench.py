"""Commands that measure: the project's own benchmarks, beside its peers."""

from __future__ import annotations

import json
import math
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ..errors import ConfigError, HybridnasError
from ..resources import shipped
from . import bench_kernels, bench_search
from .common import AsJson, console, print_json, print_table

bench = typer.Typer(
    help="Measure this machine with the project's benchmarks.", no_args_is_help=True
)

Row = dict[str, Any]

# Ours beside the models of timm that they are, or come nearest to.
_PAIRS = (
    "mambaout_tiny=mambaout_tiny",
    "caformer_s18=caformer_s18",
    "vmamba_tiny_s1l8=convnext_tiny",
)


def register(app: typer.Typer) -> None:
    app.add_typer(bench, name="bench")
    bench.command()(bench_search.search)


@bench.callback()
def _group() -> None: ...


@bench.command()
def kernels(
    op: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This operator; may be repeated.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Processes that compile before anything is timed; 1: none. Default: one a core.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each row when it is measured, a JSON line each.")
    ] = False,
) -> None:
    """Time our kernels beside their peers, in one run on this GPU, in bf16: microseconds, the
    peer's time over ours, and how near the floor (memory traffic or arithmetic) ours comes.

    First all kernels are compiled, side by side (one that was compiled before is not again); then
    one process measures. A peer that is not installed (mamba-ssm) is left out. Example: `hybridnas
    bench kernels --op depthwise_conv2d`
    """
    known = shipped("bench")
    for name in op or ():
        if name not in known:
            raise ConfigError(f"no benchmark of {name!r}; allowed: {', '.join(known)}")
    device = _gpu("kernels are")
    rows: list[Row] = []
    scripts = {name: known[name] for name in op or known}
    say = console(stderr=True).print
    for row in bench_kernels.measured(scripts, batch, jobs or os.cpu_count() or 1, say):
        rows.append(row)
        if as_json:  # at once: what stops the command leaves the rows that were measured
            typer.echo(json.dumps({"device": device, "batch": batch, **row}))
        else:
            say(f"    {' '.join(_cells(row)[1:])}")
    if not as_json:
        print_kernels(f"{device}, bf16, batch {batch}", rows)


@bench.command()
def training(
    part: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="short or steps; may be repeated. Default: both."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DIR", help="Images with train/ and val/ for the short ones. Default: noise."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, metavar="N", help="Of the short ones.")] = 30,
    plain: Annotated[
        bool, typer.Option("--plain", help="Time a plain float32 loop beside the short ones, too.")
    ] = False,
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Images at once.")] = 128,
    as_json: AsJson = False,
) -> None:
    """Time trainings on this GPU.

    short: whole evaluations at 64 px of networks of MambaOut's, CAFormer's and VMamba's kind,
    beside their captured step alone, an eager loop and (--plain) timm's transforms in a plain
    loop. steps: whole training steps at 224 px of our models beside timm's, as they are, captured
    as a CUDA graph and under torch.compile. Example: `hybridnas bench training --data DIR --plain`
    """
    parts = part or ["short", "steps"]
    for name in parts:
        if name not in ("short", "steps"):
            raise ConfigError(f"no benchmark of training {name!r}; allowed: short, steps")
    device = _gpu("training is")
    found: dict[str, list[Row]] = {}
    if "short" in parts:
        words = ["--epochs", str(epochs), "--batch", str(batch), *(["--plain"] if plain else [])]
        words += ["--data", data] if data else []
        found["short"] = _rows("bench_short_training", words)
    if "steps" in parts:
        found["steps"] = _rows("bench_training", [*_PAIRS, "--batch", str(batch)])
    if as_json:
        print_json({"device": device, "batch": batch, **found})
    else:
        print_training(f"{device}, bf16, batch {batch}", found)


def _gpu(what: str) -> str:
    """The name of the device that is timed; HybridnasError where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise HybridnasError(f"{what} timed on a CUDA device, and there is none here")
    return torch.cuda.get_device_name()


def _rows(script: str, words: Sequence[str]) -> list[Row]:
    """What a shipped script measures, told its own command line."""
    path = shipped("bench_training")[script]
    console(stderr=True).print(f"{path.name} {' '.join(words)} ...")
    sys.path.insert(0, str(path.parent))  # scripts import from their neighbours
    try:
        module = runpy.run_path(str(path))
        return list(module["rows"](module["parser"]().parse_args(words)))
    finally:
        sys.path.remove(str(path.parent))


def print_training(title: str, found: Mapping[str, Sequence[Row]]) -> None:
    """Images a second, seconds and memory of each part's rows."""
    if "short" in found:
        rates = ("evaluation", "train", "captured step", "eager", "plain")
        seconds = ("data_s", "build_s", "check_s", "capture_s", "train_s", "score_s", "total_s")
        failed = [row for row in found["short"] if "failed" in row]
        rows = [row for row in found["short"] if "failed" not in row]
        print_table(
            f"{title}, 64 px: images/s of one evaluation, and of its parts",
            ("network", *rates, "top1"),
            [
                [row["kind"], *(_number(row.get(n), 0) for n in rates), _number(row["top1"], 4)]
                for row in rows
            ],
        )
        print_table(
            "Seconds of one evaluation",
            ("network", *(name.removesuffix("_s") for name in seconds), "steps"),
            [
                [row["kind"], *(_number(row.get(n), 2) for n in seconds), row["stepping"]]
                for row in rows
            ],
        )
        for row in failed:
            typer.echo(f"{row['kind']} failed: {row['failed']}")
    if "steps" in found:
        print_table(
            f"{title}, 224 px: whole training steps",
            ("network", "run", "images/s", "ms", "peak MiB", "until the first s"),
            [
                [
                    row["network"],
                    row["how"],
                    _number(row["images_s"], 0),
                    _number(row["ms"], 2),
                    _number(row["peak_mib"], 0),
                    _number(row["first_step_s"], 1),
                ]
                for row in found["steps"]
            ],
        )


def print_kernels(title: str, rows: Sequence[Row]) -> None:
    """A line for each measurement, and the geometric mean of each operator's ratios."""
    columns = ("operator", "shape", "pass", "peer", "peer us", "ours us", "ratio", "of the floor")
    print_table(title, columns, [_cells(row) for row in rows])
    groups: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row["ratio"] is not None:
            groups.setdefault((row["op"], row["peer"], row["pass"]), []).append(row["ratio"])
    means = [
        (*group, len(found), f"{math.exp(sum(map(math.log, found)) / len(found)):.2f}")
        for group, found in groups.items()
    ]
    heads = ("operator", "peer", "pass", "shapes", "ratio")
    print_table("Peer's time over ours, geometric means", heads, means)


def _cells(row: Row) -> list[str]:
    return [
        row["op"],
        row["shape"],
        row["pass"],
        row["peer"],
        _number(row["peer_us"], 0),
        _number(row["ours_us"], 0),
        _number(row["ratio"], 2),
        _number(row["fraction_of_floor"], 2),
    ]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
