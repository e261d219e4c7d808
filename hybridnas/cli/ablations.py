"""The command that asks whether a stage needs its SSM, or its attention."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ..config import Fidelity, Study
from ..cost import input_size
from ..errors import ConfigError
from ..reference import REFERENCES
from ..search.asked import study_to_run
from ..search.early import check_early
from ..store import Store
from .common import (
    DEFAULT_STORAGE,
    AsJson,
    Ray,
    Settings,
    Storage,
    console,
    loading,
    print_json,
    say_written,
)
from .resolve import Named, architecture_of

if TYPE_CHECKING:
    from ..ablate import Ablation
    from ..ablate.setup import Setup
    from ..ablate.twins import Twin
    from ..search.job_forecast import JobForecast

_FEWEST = 2  # seeds: with fewer there is no interval

Arch = Annotated[
    str,
    typer.Argument(
        metavar="ARCH",
        help="STUDY:TRIAL; or a reference architecture, or a JSON/YAML file, with --study.",
    ),
]
Seeds = Annotated[
    int,
    typer.Option(
        min=_FEWEST,
        metavar="N",
        help="Trainings of the architecture and of each twin, the k-th of all with the same seed.",
    ),
]
Stages = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Stages to test, counted from 1: 3 or 1,3. Default: all that have such a mixer.",
        show_default=False,
    ),
]
Mixer = Annotated[Literal["all", "ssm", "attention"], typer.Option(help="Which mixers to test.")]
Together = Annotated[
    bool, typer.Option("--together", help="One more twin, with all of them replaced at once.")
]
Under = Annotated[
    str | None,
    typer.Option(
        "--study",
        metavar="STUDY",
        help="Whose data and training it is compared with. Default: the trial's own study.",
        show_default=False,
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which of the study's other tasks (`also`) it is about. Default: the study's own.",
        show_default=False,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Train so many epochs, not those of the top fidelity."),
]
Rung = Annotated[
    int | None,
    typer.Option(
        "--rung",
        min=1,
        metavar="K",
        help="Train at this rung of the study's ladder, counted from 1. Default: the top one.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say which twins there are and how long it takes; write nothing."
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Draw the effects as a forest plot: .svg, .png or .pdf."),
]


def register(app: typer.Typer) -> None:
    app.command()(ablate)


def ablate(
    arch: Arch,
    seeds: Seeds = 5,
    stages: Stages = None,
    mixer: Mixer = "all",
    together: Together = False,
    study: Under = None,
    task: Task = None,
    epochs: Epochs = None,
    rung: Rung = None,
    storage: Storage = DEFAULT_STORAGE,
    ray: Ray = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    plot: Plot = None,
    as_json: AsJson = False,
) -> None:
    """Tell whether a stage needs its SSM, or its attention: the twin test.

    A twin is the architecture with the mixer of one stage replaced by Gated CNN, its inner width
    (and, where that is not enough, its depth) raised until MACs are equal. Both are trained by the
    study's own training with N paired seeds, and the mean difference is reported with a paired t
    interval, widened so that all of them together hold in 95 % of cases (Bonferroni). It covers the
    chance of seeds, not of which images were set aside for validation.

    Where an interval holds 0 the answer is like `cannot tell with 5 seeds; about 14 would, were the
    effect as large as it seems`: then 14 seeds would find it in 80 % of cases. (Whoever adds
    seeds for that looks twice, and the 95 % become 91: docs/twins.md.)

    Ctrl-C ends it in good order; the same command goes on. What is known already, of any study, is
    not trained again; weights are not kept. Seeds begin after the study's own, which chose the
    trial.

    Examples: `hybridnas ablate images64:17`, `hybridnas ablate images64:17 --dry-run`,
    `hybridnas ablate images64:17 --stages 3 --seeds 14`,
    `hybridnas ablate imagenet_ade20k:17 --task ade20k`,
    `hybridnas ablate caformer_s18 --study images64 --mixer attention --plot effects.svg`
    """
    if plot is not None:
        from .plot import new_figure

        new_figure(plot, 1, 1)  # refuses now what it would refuse after the trainings
    named = architecture_of(arch, storage)
    base = _study_of(named, arch, study, task, storage, settings or [])
    fidelity = _fidelity(base, epochs, rung)
    twins = _twins(named, base, fidelity, mixer, stages, together)
    label = _label(named, arch, base, task)
    with loading() as now:
        from ..ablate.setup import set_up  # imports torch: what was refused did not wait for it
        from .ablation_view import print_setup

        now.update("looking at the data ...")
        setup = set_up(base, label, fidelity, named.architecture, twins, seeds)
        forecast = _forecast(setup, storage, ray)
    if dry_run:
        print_setup(setup, forecast, as_json)
    else:
        _show(_run(setup, forecast, storage, ray), plot, as_json)


def _twins(
    named: Named, study: Study, fidelity: Fidelity, mixer: str, stages: str | None, together: bool
) -> list[Twin]:
    from ..ablate.twins import TESTED, twins_of

    size = input_size(study.task.name, fidelity.resolution)
    mixers = TESTED if mixer == "all" else (mixer,)
    numbers = None if stages is None else _numbers(stages)
    return twins_of(named.architecture, size, mixers=mixers, stages=numbers, together=together)


def _show(found: Ablation, plot: Path | None, as_json: bool) -> None:
    from ..ablate.words import as_json as ablation_json
    from .ablation_view import print_ablation

    if plot is not None:
        from .forest import plot_effects

        plot_effects(found, plot)
        say_written(plot)
    if as_json:
        print_json(ablation_json(found))
    else:
        print_ablation(found)


def _study_of(
    named: Named,
    text: str,
    study: str | None,
    task: str | None,
    storage: str,
    settings: list[str],
) -> Study:
    """Whose training it is, of the one task that it is about."""
    if study is None and named.view is None:
        raise ConfigError(
            f"{text} is of no study: say whose data and training it is compared with, --study STUDY"
        )
    own = named.view.study.name if named.view else ""
    found = study_to_run(study or own, storage, True, settings)
    if task is not None and task not in found.also:
        known = ", ".join(found.also) or "none"
        raise ConfigError(
            f"--task: study {found.name!r} has no task {task!r} besides its own; it has: {known}"
        )
    found = found.alone(task or "")
    check_early(found)
    return found


def _fidelity(study: Study, epochs: int | None, rung: int | None) -> Fidelity:
    if epochs is not None and rung is not None:
        raise ConfigError("give --epochs or --rung, not both")
    number = len(study.fidelities)
    if rung is not None and rung > number:
        raise ConfigError(f"--rung takes 1 to {number} of study {study.name!r}, got {rung}")
    fidelity = study.fidelities[(rung or number) - 1]
    if epochs is None:
        return fidelity
    if fidelity.iterations is not None:
        raise ConfigError(
            f"--epochs: the study's training ends after {fidelity.iterations} iterations; choose "
            f"a rung of its ladder, --rung K"
        )
    return fidelity.model_copy(update={"epochs": epochs})


def _numbers(text: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise ConfigError(f"--stages takes numbers apart by commas, like 1,3; got {text!r}")
    return [int(word) for word in words]


def _label(named: Named, text: str, study: Study, task: str | None) -> str:
    """What is compared, in the name of the study of its trainings: architecture, and task."""
    if named.view is None or named.row is None:
        label = text if text in REFERENCES else named.architecture.digest
    else:
        own, number = named.view.study.name, named.row.number
        label = f"{number}" if own == study.name else f"{own}-{number}"
    return f"{label}.{task}" if task else label


def _forecast(setup: Setup, storage: str, ray: str | None) -> JobForecast:
    """How much there is to train, and how long it takes."""
    from ..ablate.setup import check_original, seconds_each
    from ..search.job_forecast import forecast_jobs

    each, check = partial(seconds_each, setup), partial(check_original, setup)
    return forecast_jobs(setup.plan.study, setup.jobs, storage, ray, each, check)


def _run(setup: Setup, forecast: JobForecast, storage: str, ray: str | None) -> Ablation:
    """Trains what is not known, and reads what there is then."""
    from ..ablate.results import ablations_in
    from ..search.driver import run_trainings
    from ..search.observer import Silent
    from .forecast_view import all_known, forecast_words
    from .live import Lines, LiveView

    plan, out = setup.plan, console(stderr=True)
    out.print(forecast_words(forecast))
    watcher = LiveView if out.is_terminal else Lines
    with Store.open(storage) as store:
        with nullcontext(Silent()) if all_known(forecast) else watcher(plan.study, out) as watch:
            reason = run_trainings(plan, store, setup.jobs, ray_address=ray, observer=watch)
        if reason == "interrupted":
            typer.echo("interrupted; the same command goes on", err=True)
            raise typer.Exit(130)
        found = ablations_in(store, plan.study.name)
    wanted = plan.protocol.seedless().digest
    return next(ablation for ablation in found if ablation.protocol.digest == wanted)
