"""Commands that measure: the project's own benchmarks, beside its peers."""

from __future__ import annotations

import math
import runpy
from collections.abc import Sequence
from typing import Annotated, Any

import torch
import typer

from ..errors import ConfigError, HybridnasError
from ..resources import shipped
from .common import AsJson, console, print_json, print_table

bench = typer.Typer(
    help="Measure this machine with the project's benchmarks.", no_args_is_help=True
)

Row = dict[str, Any]


def register(app: typer.Typer) -> None:
    app.add_typer(bench, name="bench")


@bench.callback()
def _group() -> None: ...


@bench.command()
def kernels(
    op: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="This operator; may be repeated.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images at once.")] = 128,
    as_json: AsJson = False,
) -> None:
    """Time our kernels beside their peers, in one run on this GPU, in bf16: microseconds, the
    peer's time over ours, and how near the floor (memory traffic or arithmetic) ours comes.

    A peer that is not installed (mamba-ssm) is left out. Example: `hybridnas bench kernels --op
    depthwise_conv2d`
    """
    known = shipped("bench")
    for name in op or ():
        if name not in known:
            raise ConfigError(f"no benchmark of {name!r}; allowed: {', '.join(known)}")
    if not torch.cuda.is_available():
        raise HybridnasError("kernels are timed on a CUDA device, and there is none here")
    rows: list[Row] = []
    for name in op or known:
        console(stderr=True).print(f"{name} ...")
        rows += runpy.run_path(str(known[name]))["rows"](batch)
    if as_json:
        print_json({"device": torch.cuda.get_device_name(), "batch": batch, "rows": rows})
        return
    print_kernels(f"{torch.cuda.get_device_name()}, bf16, batch {batch}", rows)


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
    def text(value: float | None, digits: int) -> str:
        return "-" if value is None else f"{value:.{digits}f}"

    return [
        row["op"],
        row["shape"],
        row["pass"],
        row["peer"],
        text(row["peer_us"], 0),
        text(row["ours_us"], 0),
        text(row["ratio"], 2),
        text(row["fraction_of_floor"], 2),
    ]
