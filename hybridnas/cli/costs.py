"""What an architecture costs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..cost import Cost
from ..cost import cost as cost_of
from ..cost import input_size as counted_size
from ..counting import CONVENTION
from ..errors import ConfigError
from .common import (
    DEFAULT_STORAGE,
    AsJson,
    Storage,
    in_units,
    print_json,
    print_table,
)
from .folding import say
from .resolve import architecture_of

ArchArgument = Annotated[
    str,
    typer.Argument(
        metavar="ARCH", help="A name from `hybridnas archs`, a JSON/YAML file, or STUDY:TRIAL."
    ),
]
CostTask = Annotated[
    str | None,
    typer.Option(
        metavar="TASK",
        help="With its head: classification, segmentation (UperNet) or detection (Mask R-CNN). "
        "Default: the study's for a trial, else classification.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(cost)


def image_size(text: str) -> tuple[int, int]:
    """`224` or `512x2048` (height x width) in pixels."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise ConfigError(f"--input-size takes 224 or 512x2048 (height x width), got {text!r}")
    return int(sides[0]), int(sides[-1])


def cost(
    arch: ArchArgument,
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="224, or 512x2048 (height x width). Default: the study's for a trial's own task, "
            "else 224, 512x2048 or 800x1280 as papers count the task.",
        ),
    ] = None,
    task: CostTask = None,
    num_classes: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Default: the study's for a trial's own task, else 1000, 150 or 80.",
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Count parameters and MACs in closed form, stage by stage.

    L is the length of the sequence that a mixer sees; above L/6D = 1 a stage of width D works on
    long sequences, where MambaOut expects an SSM to help. Example: `hybridnas cost mambaout_tiny`,
    or `hybridnas cost mambaout_tiny --task segmentation`
    """
    named = architecture_of(arch, storage)
    size = None if input_size is None else image_size(input_size)
    own = named.task
    task = task or own
    if named.view is not None and task == own:
        size = size or counted_size(task, named.resolution)
        num_classes = named.num_classes if num_classes is None else num_classes
    width = named.head_width if task == own else None
    known = cost_of(named.architecture, size, task, num_classes, head_width=width)
    if as_json:
        print_json(_cost_json(known, task))
    else:
        _print_cost(arch, known, task)


def _cost_json(known: Cost, task: str) -> dict[str, Any]:
    stages = [
        {
            "stage": s.stage,
            "depth": s.depth,
            "width": s.width,
            "mixers": list(s.mixers),
            "params": s.params,
            "macs": s.macs,
            "tokens": s.tokens,
            "long_sequence_ratio": s.long_sequence_ratio,
        }
        for s in known.stages
    ]
    return {
        "params": known.params,
        "macs": known.macs,
        "input_size": list(known.input_size),
        "task": task,
        "num_classes": known.num_classes,
        "stem": {"params": known.stem.params, "macs": known.stem.macs},
        "stages": stages,
        "head": {"params": known.head.params, "macs": known.head.macs},
        "convention": CONVENTION,
    }


HEADS = {"segmentation": ", with UperNet", "detection": ", with Mask R-CNN"}


def _print_cost(arch: str, known: Cost, task: str) -> None:
    rows: list[list[object]] = [["stem", "", "", "", *_numbers(known.stem, known.macs), "", ""]]
    for s in known.stages:
        share = _numbers(s, known.macs)
        ratio = f"{s.long_sequence_ratio:.2f}"
        rows.append([s.stage, s.depth, s.width, ", ".join(s.mixers), *share, s.tokens, ratio])
    rows.append(["head", "", "", "", *_numbers(known.head, known.macs), "", ""])
    rows.append(["total", "", "", "", *_numbers(known, known.macs), "", ""])
    height, width = known.input_size
    columns = ("stage", "depth", "width", "mixers", "params", "MACs", "share", "tokens L", "L/6D")
    title = f"{arch} at {height} x {width} px, {known.num_classes} classes"
    print_table(f"{title}{HEADS.get(task, '')}", columns, rows)
    say(f"MACs: {CONVENTION}")


def _numbers(part: Any, total: int) -> list[object]:
    return [in_units(part.params), in_units(part.macs), f"{100 * part.macs / total:.1f}%"]
