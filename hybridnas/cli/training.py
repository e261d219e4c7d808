"""The command that trains one architecture by a recipe."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError

from ..config import Task
from ..data_folder import check_data
from ..resources import find
from ..strict_yaml import override, read_yaml
from .common import DEFAULT_STORAGE, Storage, console, loading
from .costs import ArchArgument
from .resolve import architecture_of

if TYPE_CHECKING:
    from ..runs import Order

RecipeName = Annotated[
    str, typer.Option(metavar="NAME", help="A shipped recipe (see above), or a YAML file.")
]
Data = Annotated[
    str,
    typer.Option(
        metavar="DIR",
        help="ImageFolder, ADE20K or COCO layout, by the recipe's task; for classification also "
        "`digits`, FILE.tar, wds/DIR, hfds/NAME, torch/NAME:DIR.",
    ),
]
Out = Annotated[
    Path, typer.Option(metavar="DIR", help="A new folder; of several machines one that they share.")
]
Weights = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Weights to start from (.safetensors, .pth).")
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where --out stopped, told the same.")]
Epochs = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="In the place of the recipe's length. Warm-up and cool-down keep theirs: of few "
        "epochs set them, too, e.g. --epochs 1 --set recipe.warmup_epochs=0.1.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Overrides a key of the recipe, e.g. recipe.lr=1e-3, recipe.batch_size=512, seed=1, "
        "task.num_classes=100.",
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:1, ...")]
LoaderWorkers = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help="Processes that load images, for each GPU."),
]
CheckpointEvery = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Steps; besides, at the ends of epochs (every 10 s or more)."
    ),
]
Eager = Annotated[bool, typer.Option("--eager", help="Never record the step as a CUDA graph.")]


def register(app: typer.Typer) -> None:
    app.command()(train)


def train(
    arch: ArchArgument,
    recipe: RecipeName,
    data: Data,
    out: Out,
    weights: Weights = None,
    resume: Resume = False,
    epochs: Epochs = None,
    settings: Settings = None,
    device: Device = "auto",
    loader_workers: LoaderWorkers = None,
    checkpoint_every: CheckpointEvery = 500,
    eager: Eager = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Train an architecture by a recipe, on one GPU or several.

    Recipes: `imagenet_300e` (MambaOut's), `ade20k_160k` (UperNet), `coco_1x` (Mask R-CNN), and
    cheaper ones derived from them: `proxy_imagenet100_30e`, `proxy_images64_30e`,
    `proxy_ade20k_16k`, `proxy_coco_3e`: commented YAML files in hybridnas/recipes, as yours may be.

    Examples:

    `hybridnas train mambaout_tiny --recipe imagenet_300e --data imagenet --out runs/tiny`

    `torchrun --nproc-per-node 8 -m hybridnas train my_study:17 --recipe imagenet_300e --data
    imagenet --out runs/found` (eight GPUs share each batch of 4096)

    `hybridnas train my_study:17 --recipe ade20k_160k --data ADEChallengeData2016 --out runs/seg
    --weights runs/found/model.safetensors`

    `hybridnas train caformer_s18 --recipe proxy_images64_30e --data photos --out runs/small
    --epochs 10 --set recipe.batch_size=64`

    **Stopping.** Ctrl-C (or SIGTERM) saves and ends with code 130 (torchrun with a code of its
    own); the same command with `--resume` goes on with the very next step, also after a crash (with
    what the last checkpoint had). **The folder** holds config.yaml (all that repeats the training),
    log.csv (a row an epoch), tensorboard/, checkpoints/, and at the end the model as `hybridnas
    export` writes it: `hybridnas evaluate DIR` and timm ("local-dir:DIR") take it.
    """
    changed = [*(settings or []), *([] if epochs is None else [f"epochs={epochs}"])]
    _check_early(arch, storage, recipe, changed, data)
    with loading():
        from ..runs import Order, load_recipe
        from ..runs.group import told_once
    with told_once():
        order = Order(
            architecture=architecture_of(arch, storage).architecture,
            recipe=recipe,
            config=load_recipe(recipe, changed, data=data),
            out=out,
            weights=weights,
            resume=resume,
            device=device,
            loader_workers=_loader_workers(loader_workers),
            checkpoint_every=checkpoint_every,
            captured=not eager,
            command=shlex.join(["hybridnas", *sys.argv[1:]]),
        )
    _run(order, arch)


def _check_early(arch: str, storage: str, recipe: str, settings: list[str], data: str) -> None:
    """Refuses, before torch is imported, an architecture and a recipe that are not there, and data
    that are not, or not as its task wants them; what else is wrong with a recipe, who reads it
    says. Of several processes the first alone is to tell, which takes torch."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return
    architecture_of(arch, storage)
    given = override(read_yaml(find("recipes", recipe)), settings).get("task")
    with suppress(ValidationError):
        known = given if isinstance(given, dict) else {"name": given}
        task = Task.model_validate({**known, "data": data})
        check_data(task.name, task.data, task.train, task.val)


def _run(order: Order, arch: str) -> None:
    """Exits with 130 when it was stopped, with 1 when it diverged or memory ended."""
    from ..environment import is_out_of_memory
    from ..runs import Interrupted, run_recipe
    from ..train import Diverged
    from .training_view import TrainingView

    view = TrainingView(console(stderr=True), arch, order)
    with _asked_to_stop() as asked, view:
        try:
            last = run_recipe(order, view, lambda: bool(asked))
        except Interrupted:
            view.note(f"saved; the same command with --resume goes on: {order.out}")
            raise typer.Exit(130) from None
        except Diverged as error:
            log = order.out / "log.csv"  # which the first epoch's end writes
            curve = f"{log} has the curve; " if log.is_file() else ""
            view.note(f"failed: {error}; {curve}try a lower recipe.lr")
            raise typer.Exit(1) from None
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            view.note(
                "failed: memory is too small for this share of a batch: use more GPUs "
                "(torchrun), or --set recipe.batch_size=N with recipe.lr in proportion"
            )
            raise typer.Exit(1) from None
    view.ended(last)


def _loader_workers(wanted: int | None) -> int:
    """By default the CPUs of this machine, divided among its processes; one is left for each."""
    if wanted is not None:
        return wanted
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, min(16, (cpus or 1) // local - 1))


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM; a second one ends this process as usual.

    Not so among several processes: on Ctrl-C each gets one from the terminal and one of torchrun,
    and they need a few steps to stop together.
    """
    asked: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if alone:
            for each in signals:
                signal.signal(each, before[each])

    try:
        for number in signals:
            signal.signal(number, note)
        yield asked
    finally:
        for number in signals:
            signal.signal(number, before[number])
