"""Commands that write a model, and score one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError, ExportError
from ..exported import HEAD, check_new, read_config
from ..task_defaults import TASK_DEFAULTS
from .common import DEFAULT_STORAGE, AsJson, Storage, loading, print_facts, print_json
from .costs import ArchArgument
from .folding import say
from .resolve import Named, architecture_of

if TYPE_CHECKING:
    from ..export import Extras, Source
    from ..tasks.inference import Inference

TaskName = Annotated[
    str | None,
    typer.Option(
        metavar="TASK",
        help="classification, segmentation or detection; only checked: a model is for one task.",
    ),
]
Window = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="PX", help="Segmentation: slide a square of so many pixels over each image."
    ),
]
Stride = Annotated[
    int | None,
    typer.Option(min=1, metavar="PX", help="How far the window moves. Default: 2/3 of it."),
]
Scales = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Segmentation: average over versions of each image, e.g. 0.5,0.75,1,1.25,1.5,1.75 "
        "as papers' multi-scale figures.",
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="N", help="Of an untrained model. Default: the study's, else 1000."
    ),
]
Pixels = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="PX", help="Of an untrained model. Default: the study's, else 224."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Weights from elsewhere (.pth, .safetensors): of timm, or of MambaOut, ConvNeXt, "
        "MetaFormer, DeiT or VMamba as published.",
    ),
]

Crop = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=2,
        metavar="X",
        help="With --weights: how much of a validation image's shorter side they were scored on "
        "(timm's crop_pct). Default: 1.",
    ),
]


def register(app: typer.Typer) -> None:
    for command in (export, evaluate):
        app.command()(command)


def export(
    arch: ArchArgument,
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new folder.")],
    untrained: Annotated[
        bool, typer.Option("--untrained", help="Allow an architecture that has no weights.")
    ] = False,
    weights: Weights = None,
    num_classes: Classes = None,
    input_size: Pixels = None,
    crop_pct: Crop = None,
    standalone: Annotated[
        bool,
        typer.Option("--standalone", help="A Python package that needs torch and timm alone."),
    ] = False,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Also model.onnx, checked with onnxruntime; takes a while."),
    ] = False,
    torch_export: Annotated[
        bool, typer.Option("--torch-export", help="Also model.pt2, torch.export's program.")
    ] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Write a model as a folder for `timm.create_model("local-dir:DIR")`.

    The folder holds config, weights, and a card that says how timm, segmentation-models-pytorch
    and torchvision load it. A model for segmentation or detection has its head in a file of its
    own: `hybridnas.load_model("DIR")` gives the whole, timm the backbone.

    Example: `hybridnas export quickstart:17 --out exported/quickstart-17`
    """
    named = architecture_of(arch, storage)
    trained = weights is None and _is_trained(named)
    if trained and (num_classes, input_size, crop_pct) != (None, None, None):
        raise ExportError(
            f"{arch} is trained for the classes and the images of its study: "
            f"leave --num-classes, --input-size and --crop-pct out"
        )
    if not trained and weights is None and not untrained:
        raise ExportError(
            f"{arch} has no trained weights ({_why_untrained(named)}); say --untrained to "
            f"export fresh ones, or give --weights FILE"
        )
    check_new(out)
    with loading() as now:
        from ..export import Extras, Source  # import torch: what was refused did not wait for it

        extras = Extras(standalone=standalone, onnx=onnx, program=torch_export)
        now.update(f"writing {out} ...")
        if trained:
            _export_trained(named, out, extras)
        else:
            source = Source(arch, None if weights is None else weights.name)
            _export_other(named, out, weights, source, num_classes, input_size, crop_pct, extras)
    say(f"written: {out}")
    typer.echo(f"load it: {_load_it(out, standalone, (out / HEAD).is_file())}")


def _load_it(out: Path, standalone: bool, whole: bool) -> str:
    """What to type in Python. whole: a model with its head."""
    if standalone:
        words = f"import {out.name}; {out.name}.create_model()"
        # Python finds a package beside the script, or in the current folder.
        elsewhere = f" (with {out.parent} as the current folder, or on PYTHONPATH)"
        return words + (elsewhere if out.parent != Path() else "")
    if whole:
        return f'import hybridnas; hybridnas.load_model("{out}")'
    return f'import hybridnas, timm; timm.create_model("local-dir:{out}", pretrained=True)'


def _is_trained(named: Named) -> bool:
    return bool(named.row and named.row.evaluation and named.row.evaluation.weights)


def _why_untrained(named: Named) -> str:
    if named.row is not None and named.row.reused:
        return (
            "its score was known from a calibration, which keeps none, or from another study that "
            "did not keep them"
        )
    return "a study keeps those of its front and its best few, see `hybridnas pareto`"


def _export_trained(named: Named, out: Path, extras: Extras) -> None:
    """A trial, with the weights that its study kept."""
    from ..export import export_model
    from ..search.weights import load
    from .origins import origin_of

    assert named.view is not None
    assert named.row is not None
    assert named.row.evaluation is not None
    assert named.row.evaluation.weights is not None
    origin = origin_of(named.view, named.row)
    state = load(named.row.evaluation.weights)
    export_model(named.architecture, out, state, origin, extras=extras)


def _export_other(
    named: Named,
    out: Path,
    weights: Path | None,
    source: Source,
    num_classes: int | None,
    input_size: int | None,
    crop_pct: float | None,
    extras: Extras,
) -> None:
    """An architecture with weights from a file, or fresh ones."""
    from ..export import export_model, read_weights

    classes = named.num_classes if num_classes is None else num_classes
    export_model(
        named.architecture,
        out,
        None if weights is None else read_weights(weights, named.architecture, classes),
        source,
        num_classes=classes,
        input_size=named.resolution if input_size is None else input_size,
        crop_pct=1.0 if crop_pct is None else crop_pct,
        extras=extras,
    )


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An exported model.")],
    task: TaskName = None,
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
    window: Window = None,
    stride: Stride = None,
    scales: Scales = None,
    flip: Annotated[
        bool, typer.Option("--flip", help="Segmentation: average with the mirrored image.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Score an exported model, in fp32, just as the search scored it.

    That split chose the model, so its score flatters: `--split NAME` counts on images that chose
    nothing, where the data have such a split.

    Classification counts top1 and top5, segmentation miou, aacc and macc as mmsegmentation does,
    detection box_ap and mask_ap as pycocotools does. Examples:
    `hybridnas evaluate my_model --split test`,
    `hybridnas evaluate roads --data DIR --scales 0.5,0.75,1,1.25,1.5,1.75 --flip`,
    `hybridnas evaluate roads --window 512 --stride 341`
    """
    if task is not None and task not in TASK_DEFAULTS:
        raise ConfigError(f"unknown task {task!r}; allowed: {', '.join(TASK_DEFAULTS)}")
    read_config(folder)
    with loading() as now:
        from ..export import score_export  # imports torch: what was refused did not wait for it
        from ..tasks.inference import WHOLE

        seen = _inference(window, stride, scales, flip)
        now.update(f"scoring {folder} ...")
        found = score_export(
            folder,
            task=task,
            data=data,
            split=split,
            batch_size=batch_size,
            device=device,
            inference=seen,
        )
    if as_json:
        print_json(found)
    else:
        facts = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in found.items()}
        if "inference" in facts:
            facts["inference"] = f"each image {(seen or WHOLE).words}"
        print_facts(f"{folder}", facts.items())


def _inference(
    window: int | None, stride: int | None, scales: str | None, flip: bool
) -> Inference | None:
    """How a segmenting model is to see images; None: nothing was said."""
    from ..tasks.inference import Inference

    if (window, stride, scales, flip) == (None, None, None, False):
        return None
    if stride is None and window is not None:
        stride = max(1, 2 * window // 3)
    try:
        factors = tuple(map(float, (scales or "1").split(",")))
    except ValueError:
        raise ConfigError(f"--scales takes numbers like 0.5,1,1.5, got {scales!r}") from None
    return Inference(window, stride, factors, flip)
