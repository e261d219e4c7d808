"""Commands that measure networks on this device."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..cost import cost as cost_of
from .common import DEFAULT_STORAGE, AsJson, Storage, console, in_units, print_json, print_table
from .costs import ArchArgument, image_size
from .resolve import architecture_of

if TYPE_CHECKING:
    from ..profiling import Profile

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


def register(app: typer.Typer) -> None:
    app.command()(profile)


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
    from ..evaluate import pick_device
    from ..profiling import profile as measure
    from ..profiling import setting_for

    named = architecture_of(arch, storage)
    size = (named.resolution,) * 2 if input_size is None else image_size(input_size)
    known = cost_of(named.architecture, size, num_classes=named.num_classes)
    where = pick_device(device)
    sizes = batch or ([1, 128] if where.type == "cuda" else [1])
    settings = [setting_for(where, (size[0], size[-1]), number, dtype, mode) for number in sizes]
    found = []
    for setting in settings:
        console(stderr=True).print(f"measuring {arch}: {setting.words} ...")
        found.append(measure(named.architecture, setting, named.num_classes))
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
    typer.echo(
        f"ms: one batch, median of rounds. Of reference: times the inference of {REFERENCE} at the "
        "same batch and size, measured in turn. Training: forward, loss, backward, AdamW."
    )
