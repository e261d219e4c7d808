"""Commands that run and read studies."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..config import Study
from ..counting import pixels
from ..errors import ConfigError, StoreError
from ..search.view import StudyView
from ..store import Store
from .common import (
    DEFAULT_STORAGE,
    AsJson,
    Storage,
    console,
    epochs,
    in_units,
    print_facts,
    print_json,
)
from .costs import HEADS
from .resolve import known_study, study_to_run
from .summary import print_end, print_front, print_status, status_json, write_csv

if TYPE_CHECKING:
    from ..search.plan import Plan

StudyArgument = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A YAML file, a shipped study, or one in the database."),
]

_OPEN_TO_ALL = (
    "warning: there is no password, and whoever reaches this address can change and delete studies"
)


def register(app: typer.Typer) -> None:
    for command in (search, status, pareto, dashboard, init):
        app.command()(command)


def search(
    study: StudyArgument,
    storage: Storage = DEFAULT_STORAGE,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a study that is in the database.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Ray cluster: HOST:PORT of its head, or auto. Default: Ray started here.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override any key of the YAML, e.g. --set budget.trials=50 "
            "--set constraints.macs.max=4.5e9 --set task.data=DIR. May be repeated.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, say what would run, write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run or continue a study.

    Ctrl-C ends it in good order; `--resume` goes on where it was, also after a crash.
    Exit codes: 0 the budget is spent, 2 bad input, 130 interrupted.

    Examples: `hybridnas search quickstart`, `hybridnas search study.yaml --dry-run`,
    `hybridnas search images64 --set task.data=DIR --set budget.hours=1`

    MACs are counted with the head of the study's task: of classification on a square image of the
    study's resolution; of segmentation (UperNet) and detection (Mask R-CNN) on an image of papers'
    proportions, 512x2048 for a resolution of 512 and 800x1280 for one of 800.
    """
    from ..search.cluster import check_reachable
    from ..search.plan import make_plan

    plan = make_plan(study_to_run(study, storage, resume, settings or []))
    check_reachable(ray)  # before a database is made
    if dry_run:
        _print_plan(plan, _share(plan, ray), _place(plan, storage, resume), as_json)
        return
    from ..search.driver import run_study
    from .live import Lines, LiveView

    out = console(stderr=True)
    watch = LiveView(plan.study, out) if out.is_terminal else Lines(plan.study, out)
    with Store.open(storage) as store:
        with watch:
            reason = run_study(plan, store, resume=resume, ray_address=ray, observer=watch)
        view = StudyView(plan.study.name, store)
    if as_json:
        print_json({"stopped": reason, **status_json(view), "front": view.front_json()})
    else:
        print_end(view, reason)
    if reason == "interrupted":
        raise typer.Exit(130)


def _share(plan: Plan, ray: str | None) -> str:
    """What a candidate would get here; unknown of a cluster."""
    from ..search.machine import fit, this_machine

    return "that of the cluster" if ray else fit(plan.study.resources, this_machine()).words


def _place(plan: Plan, storage: str, resume: bool) -> str:
    """What the database says to the study; ConfigError where it could not run."""
    from ..search.plan import check_registered

    try:
        with Store.open(storage, create=False) as store:
            known = check_registered(plan, store, resume)
            return "goes on with what is there" if known else "a new study"
    except StoreError as error:
        return f"a new database ({error})"


def _print_plan(plan: Plan, share: str, place: str, as_json: bool) -> None:
    from ..search.plan import counted_size, survey

    study: Study = plan.study
    found: dict[str, Any] = {
        "study": study.name,
        "space": plan.space.name,
        "size": plan.space.size(),
        "genes": len(plan.space.genes),
        **survey(plan),
        "task": study.task.name,
        "data": study.task.data,
        "classes": plan.num_classes,
        "protocol": plan.protocol.digest,
        "budget": study.budget.model_dump(exclude_none=True),
        "sampler": study.sampler.name,
        "resources": share,
        "database": place,
    }
    if as_json:
        print_json(found)
        return
    fidelity, bounds = study.fidelity, study.constraints.bounds()
    limits = [
        f"{name} {word} {in_units(value)}"
        for name, bound in bounds.items()
        for word, value in (("at least", bound.min), ("at most", bound.max))
        if value is not None
    ]
    kept = f"{100 * found['feasible_share']:.0f} % of random draws keep them"
    head = HEADS.get(study.task.name, "")
    smallest, median = in_units(found["smallest_macs"]), in_units(found["median_macs"])
    print_facts(
        f"{study.name} would run (nothing was written)",
        [
            (
                "space",
                f"{plan.space.name}: {found['size']:.2e} architectures, {found['genes']} decisions",
            ),
            ("MACs", f"from {smallest}, median {median}, at {pixels(counted_size(study))}{head}"),
            ("constraints", f"{', '.join(limits)}; {kept}" if limits else "none"),
            ("objectives", ", ".join(f"{d} {name}" for name, d in study.objectives.items())),
            ("task", f"{study.task.name} of {study.task.data}, {plan.num_classes} classes"),
            ("training", f"{epochs(fidelity.epochs)}, batches of {study.recipe.batch_size}"),
            ("sampler", study.sampler.name),
            ("budget", ", ".join(f"{name} {value:g}" for name, value in found["budget"].items())),
            ("resources", share),
            ("database", place),
            ("protocol", plan.protocol.digest),
        ],
    )


def status(
    study: StudyArgument, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False
) -> None:
    """Show how far a study is: counts, best so far, hypervolume, what runs, failures.

    Works while the search runs, and after it. Example: `hybridnas status quickstart`
    """
    with Store.open(storage, create=False) as store:
        view = StudyView(known_study(study), store)
    if as_json:
        print_json(status_json(view))
    else:
        print_status(view)


def pareto(
    study: StudyArgument,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the front as .svg, .png or .pdf.")
    ] = None,
) -> None:
    """Show the Pareto front of a study: the trials that no other beats in every objective.

    +- is a standard error. Stages read G3-S9: three Gated CNN blocks, then nine SSM
    blocks (A: attention). Example: `hybridnas pareto quickstart --plot front.svg`
    """
    if as_json and as_csv:
        raise ConfigError("give --json or --csv, not both")
    with Store.open(storage, create=False) as store:
        view = StudyView(known_study(study), store)
    if plot is not None:
        from .plot import plot_front

        plot_front(view, plot)
        typer.echo(f"written: {plot}", err=True)
    if as_json:
        print_json(view.front_json())
    elif as_csv:
        write_csv(view)
    else:
        print_front(view)


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen; it has no password.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="0: any free port.")
    ] = 8080,
) -> None:
    """Serve the Optuna dashboard on the database, until Ctrl-C.

    It follows a running search: front, history, each trial's architecture.
    """
    from ..search.dashboard import make_dashboard

    with Store.open(storage, create=False) as store, make_dashboard(store, host, port) as server:
        where = f"http://{host}:{server.server_port}/dashboard/"
        typer.echo(f"{where}  (Ctrl-C ends it)", err=True)
        if host not in ("127.0.0.1", "localhost", "::1"):
            typer.echo(_OPEN_TO_ALL, err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("", err=True)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study to write.")] = Path(
        "study.yaml"
    ),
) -> None:
    """Write a commented study to start from.

    Example: `hybridnas init study.yaml`, then edit it, then `hybridnas search study.yaml --dry-run`
    """
    if file.exists():
        raise ConfigError(f"{file} is there already: name another file")
    template = importlib.resources.files(__package__) / "study_template.yaml"
    try:
        file.write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    typer.echo(f"written: {file}; run it with: hybridnas search {file}")
