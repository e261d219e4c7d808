"""Commands about single architectures and models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..cost import Cost
from ..cost import cost as cost_of
from ..counting import CONVENTION
from ..errors import ConfigError, ExportError
from ..reference import REFERENCES
from .common import DEFAULT_STORAGE, AsJson, Storage, in_units, print_facts, print_json, print_table
from .resolve import Named, architecture_of, origin_of

ArchArgument = Annotated[
    str,
    typer.Argument(
        metavar="ARCH", help="A name from `hybridnas archs`, a JSON/YAML file, or STUDY:TRIAL."
    ),
]
TaskName = Annotated[str, typer.Option(metavar="TASK", help="classification is the only one yet.")]
archs = typer.Typer(help="List published architectures, or show one.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    for command in (cost, export, evaluate):
        app.command()(command)
    app.add_typer(archs, name="archs")


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
            help="224, or 512x2048 (height x width). Default: the study's for a trial, else 224.",
        ),
    ] = None,
    task: TaskName = "classification",
    num_classes: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Default: the study's for a trial, else 1000."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Count parameters and MACs in closed form, stage by stage.

    L is the length of the sequence that a mixer sees; above L/6D = 1 a stage of width D works on
    long sequences, where MambaOut expects an SSM to help. Example: `hybridnas cost mambaout_tiny`
    """
    named = architecture_of(arch, storage)
    size = named.resolution if input_size is None else image_size(input_size)
    classes = named.num_classes if num_classes is None else num_classes
    known = cost_of(named.architecture, size, task, classes)
    if as_json:
        print_json(_cost_json(known, task))
    else:
        _print_cost(arch, known)


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


def _print_cost(arch: str, known: Cost) -> None:
    rows: list[list[object]] = [["stem", "", "", "", *_numbers(known.stem, known.macs), "", ""]]
    for s in known.stages:
        share = _numbers(s, known.macs)
        ratio = f"{s.long_sequence_ratio:.2f}"
        rows.append([s.stage, s.depth, s.width, ", ".join(s.mixers), *share, s.tokens, ratio])
    rows.append(["head", "", "", "", *_numbers(known.head, known.macs), "", ""])
    rows.append(["total", "", "", "", *_numbers(known, known.macs), "", ""])
    height, width = known.input_size
    columns = ("stage", "depth", "width", "mixers", "params", "MACs", "share", "tokens L", "L/6D")
    print_table(f"{arch} at {height} x {width} px, {known.num_classes} classes", columns, rows)
    typer.echo(f"MACs: {CONVENTION}")


def _numbers(part: Any, total: int) -> list[object]:
    return [in_units(part.params), in_units(part.macs), f"{100 * part.macs / total:.1f}%"]


@archs.callback()
def list_archs(context: typer.Context, as_json: AsJson = False) -> None:
    """List the reference architectures with their published figures.

    Their names stand for ARCH elsewhere: `hybridnas cost mambaout_tiny`
    """
    if context.invoked_subcommand is not None:
        return
    if as_json:
        print_json([_published(name) for name in REFERENCES])
        return
    rows = [
        [name, r.family, r.architecture.short, r.params_m, r.macs_g, r.top1]
        for name, r in REFERENCES.items()
    ]
    columns = ("name", "family", "stages", "params M", "MACs G", "top1 %")
    print_table("Reference architectures, as published (ImageNet-1K, 224 px)", columns, rows)


@archs.command("show")
def show_arch(
    arch: ArchArgument, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False
) -> None:
    """Show one architecture, a line a stage; with --json in full, to edit and give as ARCH.

    Example: `hybridnas archs show quickstart:17`
    """
    named = architecture_of(arch, storage)
    if as_json:
        print_json(named.architecture.to_dict())
        return
    typer.echo(f"{arch}: {named.architecture.short} ({named.architecture.digest})")
    for i, line in enumerate(named.architecture.describe(), 1):
        typer.echo(f"  stage {i}: {line}")


def _published(name: str) -> dict[str, Any]:
    known = REFERENCES[name]
    return {
        "name": name,
        "family": known.family,
        "params_m": known.params_m,
        "macs_g": known.macs_g,
        "top1": known.top1,
        "arch": known.architecture.digest,
        "stages": known.architecture.short,
    }


def export(
    arch: ArchArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Allow an architecture that has no weights.")
    ] = False,
    num_classes: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="N", help="Of an untrained model. Default: the study's, else 1000."
        ),
    ] = None,
    input_size: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="PX", help="Of an untrained model. Default: the study's, else 224."
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write a model as a folder for `timm.create_model("local-dir:DIR")`.

    Example: `hybridnas export quickstart:17 --out my_model`
    """
    from ..export import export_model
    from ..search.weights import load

    named: Named = architecture_of(arch, storage)
    kept = named.row.evaluation.weights if named.row and named.row.evaluation else None
    if kept is not None and (num_classes, input_size) != (None, None):
        raise ExportError(
            f"{arch} is trained for the classes and the image size of its study: "
            f"leave --num-classes and --input-size out"
        )
    if kept is not None and named.view is not None and named.row is not None:
        export_model(named.architecture, out, load(kept), origin_of(named.view, named.row))
    elif untrained:
        classes = named.num_classes if num_classes is None else num_classes
        size = named.resolution if input_size is None else input_size
        export_model(named.architecture, out, None, None, num_classes=classes, input_size=size)
    else:
        raise ExportError(
            f"{arch} has no trained weights (a study keeps those of its front and its best few, "
            f"see `hybridnas pareto`); say --untrained to export fresh ones"
        )
    typer.echo(f"written: {out}")
    typer.echo(
        f'load it: import hybridnas, timm; timm.create_model("local-dir:{out}", pretrained=True)'
    )


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An exported model.")],
    task: TaskName = "classification",
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Default: the data it was trained on.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: the one it was scored on.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Default: the one it was scored with.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Score an exported model, in fp32, just as the search scored it.

    Example: `hybridnas evaluate my_model --split test`
    """
    from ..export import score_export

    if task != "classification":
        raise ConfigError(f"unknown task {task!r}; allowed: classification")
    found = score_export(folder, data=data, split=split, batch_size=batch_size, device=device)
    if as_json:
        print_json(found)
    else:
        facts = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in found.items()}
        print_facts(f"{folder}", facts.items())
