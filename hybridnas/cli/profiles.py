"""Commands that measure networks on this device."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..cost import cost as cost_of
from ..errors import ConfigError
from ..space import SearchSpace
from .bar import Bar
from .common import (
    DEFAULT_STORAGE,
    AsJson,
    Storage,
    console,
    in_units,
    loading,
    print_facts,
    print_json,
    print_table,
)
from .costs import ArchArgument, image_size
from .folding import say
from .resolve import architecture_of

if TYPE_CHECKING:
    from ..profiling import LatencyTable, Profile

Device = Annotated[
    str, typer.Option(metavar="NAME", help="auto (CUDA where there is some), cpu, cuda or cuda:N.")
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="DTYPE",
        help="float32, bfloat16 or float16. Default: bfloat16 on CUDA, float32 elsewhere.",
        show_default=False,
    ),
]
Mode = Annotated[
    str | None,
    typer.Option(
        metavar="MODE",
        help="eager, captured (a CUDA graph) or compiled (torch.compile; a minute a network). "
        "Default: captured on CUDA, eager elsewhere.",
        show_default=False,
    ),
]
Blocks = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Time so many blocks at most; estimate the others from them."
    ),
]
Networks = Annotated[
    int,
    typer.Option(
        min=6,
        metavar="N",
        help="Random networks to time whole: a third fits the table, the others check it.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command()(profile)
    app.command()(latency)


def profile(
    arch: ArchArgument,
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="224, or 512x2048 (height x width). Default: the study's for a trial, else 224.",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Images at once; may be repeated. Default: 1 and 128 on CUDA, 1 elsewhere.",
            show_default=False,
        ),
    ] = None,
    dtype: Dtype = None,
    mode: Mode = None,
    device: Device = "auto",
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Measure latency, throughput and peak memory here, of inference and of a training step.

    After 50 runs of warm-up, the median of 5 rounds of 30 runs (fewer of slow ones), with inputs
    on the device, in turn with a reference network whose time is shown beside: compare figures of
    different days by their ratios to it. MACs do not order networks by time, and neither do other
    modes or devices. Example: `hybridnas profile mambaout_tiny --batch 1`
    """
    named = architecture_of(arch, storage)
    size = (named.resolution,) * 2 if input_size is None else image_size(input_size)
    known = cost_of(named.architecture, size, num_classes=named.num_classes)
    with loading():  # torch: what was refused did not wait for it
        from ..environment import pick_device
        from ..profiling import profile as measure
        from ..profiling import setting_for

    where = pick_device(device)
    sizes = batch or ([1, 128] if where.type == "cuda" else [1])
    settings = [setting_for(where, (size[0], size[-1]), number, dtype, mode) for number in sizes]
    found, lines = [], console(stderr=True)
    for setting in settings:
        lines.print(f"measuring {arch}: {setting.words} ...")
        with Bar(lines) as bar:
            found.append(measure(named.architecture, setting, named.num_classes, told=bar.tell))
    if as_json:
        head = {"arch": arch, "digest": named.architecture.digest}
        counts = {"params": known.params, "macs": known.macs, "num_classes": known.num_classes}
        print_json({**head, **counts, "profiles": [_as_json(one) for one in found]})
    else:
        _print(arch, in_units(known.params), in_units(known.macs), found)


def _as_json(found: Profile) -> dict[str, Any]:
    from ..profiling.measure import REFERENCE

    return {
        **found.setting.model_dump(mode="json"),
        "reference": REFERENCE,
        "inference": dataclasses.asdict(found.inference),
        "training": dataclasses.asdict(found.training),
    }


def _print(arch: str, params: str, macs: str, found: list[Profile]) -> None:
    from ..profiling.measure import REFERENCE

    setting = found[0].setting
    height, width = setting.input_size
    rows = [
        [
            one.setting.batch,
            what,
            f"{figures.latency_ms:.3f}",
            f"{figures.low_ms:.3f} to {figures.high_ms:.3f}",
            f"{figures.images_per_second:.0f}",
            f"{figures.peak_mib:.0f}",
            f"{figures.latency_ms / figures.reference_ms:.3f}",
        ]
        for one in found
        for what, figures in (("inference", one.inference), ("training", one.training))
    ]
    columns = ("batch", "", "ms", "rounds", "images/s", "peak MiB", "of reference")
    print_table(
        f"{arch}, {params} parameters, {macs} MACs at {height} x {width} px; "
        f"{setting.device_name}, {setting.dtype}, {setting.mode}, torch {setting.torch_version}",
        columns,
        rows,
    )
    say(
        f"ms: one batch, median of rounds. Of reference: times the inference of {REFERENCE} at the "
        "same batch and size, measured in turn. Training: forward, loss, backward, AdamW."
    )
    for one in found:
        for what, figures in (("inference", one.inference), ("training", one.training)):
            if figures.is_unsteady:
                say(
                    f"batch {one.setting.batch}, {what}: the slowest round took "
                    f"{figures.high_ms / figures.low_ms:.1f} times as long as the quickest, so "
                    f"the time is not reliable: something else kept the device busy"
                )


def latency(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="A shipped space, or a YAML file.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table to write, JSON.")],
    input_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="224, or 512x2048 (height x width). Default: the space's."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Images at once. Default: 128 on CUDA, 1 elsewhere.",
            show_default=False,
        ),
    ] = None,
    dtype: Dtype = None,
    mode: Mode = None,
    device: Device = "auto",
    num_classes: Annotated[int, typer.Option(min=1, metavar="N", help="Of the head.")] = 1000,
    blocks: Blocks = 1500,
    networks: Networks = 30,
    as_json: AsJson = False,
) -> None:
    """Make a latency table of a space for this device, and check it.

    Every stem, downsampler, block (kind, width, resolution, options) and head of the space is
    timed once; a network's latency is their sum, to scale. How near that comes to whole networks
    that were not used is printed and kept in the table. A study names the table (`latency: FILE`)
    and may then have `latency_ms` as an objective and a constraint, decided before training; its
    images must have the table's size, and its task must be classification.
    Example, for a study of 64 px: `hybridnas latency hybrid_small --input-size 64 --out h100.json`
    """
    loaded = SearchSpace.load(space)
    size = (loaded.spec.input_size,) * 2 if input_size is None else image_size(input_size)
    _check_writable(out)
    with loading():
        from ..environment import pick_device
        from ..profiling import Stopwatch, fitting, make_table, setting_for

    setting = setting_for(pick_device(device), (size[0], size[-1]), batch, dtype, mode)
    began, lines = time.monotonic(), console(stderr=True)
    with fitting(setting), Bar(lines) as bar:
        table = make_table(
            loaded,
            Stopwatch(setting, num_classes),
            max_blocks=blocks,
            networks=networks,
            note=lines.print,
            told=bar.tell,
        )
    table.save(out)
    document = table.model_dump(mode="json", exclude={"pieces"})
    seconds = time.monotonic() - began
    if as_json:
        print_json({**document, "file": str(out), "seconds": seconds})
        return
    print_facts(f"Latency table of {table.space}: {out}", _facts(table, seconds))


def _check_writable(out: Path) -> None:
    """Before minutes of timing."""
    folder = out.absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {folder}")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name a file")
    if not os.access(out if out.exists() else folder, os.W_OK):
        raise ConfigError(f"--out {out} cannot be written: no permission")


def _facts(table: LatencyTable, seconds: float) -> list[tuple[str, object]]:
    timed, pieces = table.num_measured, len(table.pieces)
    error = table.estimate_error
    rest = "" if error is None else f", the rest estimated (median error {100 * error:.1f} %)"
    return [
        ("setting", table.setting.words),
        ("pieces", f"{timed} timed of {pieces}{rest}"),
        ("network", f"{table.scale:.3f} x the sum of its pieces + {table.offset_ms:.3f} ms"),
        ("accuracy", table.accuracy.words),
        ("reference", f"{table.reference}: {table.reference_ms:.3f} ms"),
        ("made in", f"{seconds:.0f} s"),
    ]
