"""Commands that run and read studies."""

from __future__ import annotations

import csv
import importlib.resources
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import Study
from ..errors import ConfigError
from ..search.view import StudyView
from ..store import Store
from .common import (
    DEFAULT_STORAGE,
    AsJson,
    Storage,
    console,
    in_units,
    objective_text,
    print_json,
    print_table,
)
from .resolve import known_study, study_to_run

StudyArgument = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A YAML file, a shipped study, or one in the database."),
]


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
        typer.Option(metavar="ADDRESS", help="A Ray cluster; default: Ray started here."),
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
        bool, typer.Option("--dry-run", help="Check everything, say what would run, and stop.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run or continue a study.

    Ctrl-C ends it in good order; `--resume` goes on where it was, also after a crash.
    Exit codes: 0 the budget is spent, 2 bad input, 130 interrupted.
    """
    from ..search.plan import make_plan

    plan = make_plan(study_to_run(study, storage, resume, settings or []))
    if dry_run:
        _print_plan(plan, as_json)
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
        print_json({"stopped": reason, **_status(view), "front": view.front_json()})
    else:
        _print_end(view, reason)
    if reason == "interrupted":
        raise typer.Exit(130)


def _print_plan(plan: Any, as_json: bool) -> None:
    from ..search.plan import survey

    study: Study = plan.study
    found = {
        "study": study.name,
        "space": plan.space.name,
        "size": plan.space.size(),
        "genes": len(plan.space.genes),
        **survey(plan),
        "data": study.task.data,
        "classes": plan.num_classes,
        "protocol": plan.protocol.digest,
        "budget": study.budget.model_dump(exclude_none=True),
        "sampler": study.sampler.name,
    }
    if as_json:
        print_json(found)
        return
    print_table(f"{study.name} would run", ("what", "value"), found.items())


def _print_end(view: StudyView, reason: str) -> None:
    words = {
        "interrupted": "interrupted; go on with --resume",
        "exhausted": "every architecture that fits has been tried",
    }
    print_front(view)
    name, counts = view.study.name, view.counts()
    typer.echo(
        f"\n{counts['ok']} evaluated, {counts['failed']} failed; ended by: "
        f"{words.get(reason, reason)}"
    )
    if view.front():
        best = view.best(1)[0].number
        typer.echo(
            f"Next: hybridnas dashboard   |   hybridnas export {name}:{best} --out exported/{name}"
        )


def status(
    study: StudyArgument, storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False
) -> None:
    """Show how far a study is: counts, best so far, hypervolume, what runs, failures."""
    with Store.open(storage, create=False) as store:
        view = StudyView(known_study(study), store)
    found = _status(view)
    if as_json:
        print_json(found)
    else:
        flat = {k: _flat(v) for k, v in found.items()}
        print_table(f"study {view.study.name}", ("what", "value"), flat.items())


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_flat, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _status(view: StudyView) -> dict[str, Any]:
    best = view.best(1)
    sessions = view.sessions
    proposals = sum(s.proposals for s in sessions)
    return {
        "study": view.study.name,
        "trials": dict(view.counts()),
        "budget": view.study.budget.model_dump(exclude_none=True),
        "fidelity": view.study.fidelity.model_dump(),
        "best": view.as_json(best[0]) if best else None,
        "front": len(view.front()),
        "hypervolume": view.hypervolume(),
        "running": [row.number for row in view.rows if row.state == "running"],
        "queued": [row.number for row in view.rows if row.state == "queued"],
        "proposals": proposals,
        "redrawn_share": sum(s.redrawn for s in sessions) / proposals if proposals else 0.0,
        "failures": dict(view.failures()),
        "cost": view.cost_so_far(),
        "sessions": [f"{s.host} {s.end_reason or 'running'}" for s in sessions],
    }


def pareto(
    study: StudyArgument,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the front as .svg, .png or .pdf.")
    ] = None,
) -> None:
    """Show the Pareto front of a study."""
    with Store.open(storage, create=False) as store:
        view = StudyView(known_study(study), store)
    if plot is not None:
        from .plot import plot_front

        plot_front(view, plot)
        typer.echo(f"written: {plot}", err=True)
    if as_json:
        print_json(view.front_json())
    elif as_csv:
        writer = csv.writer(sys.stdout)
        writer.writerow(["trial", "arch", *view.objectives, "params", "top1_se", "stages"])
        for member in view.front_json():
            head = [member["trial"], member["arch"], *member["values"].values()]
            writer.writerow([*head, member["params"], member["top1_se"], member["stages"]])
    else:
        print_front(view)


def print_front(view: StudyView) -> None:
    """The front as a table, cheapest first."""
    rows = []
    for row in view.front():
        member = view.as_json(row)
        values = [objective_text(name, value) for name, value in member["values"].items()]
        error = member["top1_se"]
        spread = "" if error is None else f"{error:.4f}"
        rows.append([row.number, *values, spread, in_units(member["params"]), member["stages"]])
    size = f"{view.study.fidelity.resolution} px"
    title = (
        f"Pareto front of {view.study.name}: {len(rows)} of {len(view.finished)} (MACs at {size})"
    )
    print_table(title, ("trial", *view.objectives, "+-", "params", "stages"), rows)


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Where to listen; it has no password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8080,
) -> None:
    """Serve the Optuna dashboard on the database, until Ctrl-C."""
    from ..search.dashboard import make_dashboard

    with Store.open(storage, create=False) as store, make_dashboard(store, host, port) as server:
        where = f"http://{host}:{server.server_port}/dashboard/"
        typer.echo(f"{where}  (Ctrl-C ends it)", err=True)
        if host not in ("127.0.0.1", "localhost", "::1"):
            typer.echo("warning: whoever reaches this address can delete studies", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("", err=True)


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="What to write.")] = Path(
        "study.yaml"
    ),
) -> None:
    """Write a commented study to start from."""
    if file.exists():
        raise ConfigError(f"{file} is there already: name another file")
    template = importlib.resources.files(__package__) / "study_template.yaml"
    try:
        file.write_text(template.read_text(encoding="utf-8"), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    typer.echo(f"written: {file}; run it with: hybridnas search {file}")
