"""Commands that run and read studies."""

from __future__ import annotations

import importlib.resources
import re
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from ..config import NAME, TWINS
from ..errors import ConfigError
from ..resources import find
from ..search.asked import asked_for
from ..search.pace import alive_session
from ..search.view import StudyView
from ..store import Store, redact
from .common import (
    DEFAULT_STORAGE,
    AsJson,
    Ray,
    Settings,
    Storage,
    StudyArgument,
    console,
    loading,
    print_json,
    say_written,
)
from .dry_run import look_around, print_plan
from .ending import end
from .folding import say
from .resolve import known_study
from .summary import print_front, print_status, status_json, write_csv

if TYPE_CHECKING:
    from ..search.plan import Plan

_WATCH_S = 5.0  # between two readings


def register(app: typer.Typer) -> None:
    for command in (search, status, pareto, dashboard, init):
        app.command()(command)


def search(
    study: StudyArgument,
    storage: Storage = DEFAULT_STORAGE,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a study that is in the database.")
    ] = False,
    ray: Ray = None,
    settings: Settings = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, say what would run and how long; write nothing."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run or continue a study.

    Ctrl-C ends it in good order; `--resume` goes on where it was, also after a crash.
    Exit codes: 0 the budget is spent, 1 every trial failed, 2 bad input, 130 interrupted.

    Examples: `hybridnas search quickstart`, `hybridnas search study.yaml --dry-run`,
    `hybridnas search images64 --set task.data=DIR --set budget.hours=1`

    MACs are counted with the head of the study's task: of classification on a square image of the
    study's resolution; of segmentation (UperNet) and detection (Mask R-CNN) on an image of papers'
    proportions, 512x2048 for a resolution of 512 and 800x1280 for one of 800. Scores are shares of
    1, loss is in nats, latency_ms is of a batch by the study's table, memory_mb is 10^6 bytes at
    the peak of a training on its GPU, train_hours its wall-clock. `hybridnas init` explains
    objectives and constraints.
    """
    wanted = asked_for(study, storage, resume, settings or [])
    with loading() as now:
        from ..search.cluster import check_reachable
        from ..search.machine import check_here
        from ..search.plan import make_plan  # imports torch: what was refused did not wait for it

        now.update("looking at the space and the data ...")
        plan = make_plan(wanted)
        check_reachable(ray)  # before a database is made
        check_here(plan.study, ray)
        here = look_around(plan, storage, resume, ray) if dry_run else None
    if here is None:
        _run(plan, storage, resume, ray, as_json)
    else:
        print_plan(plan, here, as_json)


def _run(plan: Plan, storage: str, resume: bool, ray: str | None, as_json: bool) -> None:
    """Searches, and shows what was found."""
    with loading("Ray"):
        from ..search.driver import run_study
    from ..search.forecast import attainable
    from ..search.ladder import left_out
    from ..search.registration import check_registered
    from .live import Lines, LiveView

    name, out = plan.study.name, console(stderr=True)
    shown, hints = attainable(plan), left_out(plan)
    watch = LiveView(shown, out, hints) if out.is_terminal else Lines(shown, out, hints)
    with Store.open(storage) as store:
        check_registered(plan, store, resume)
        if resume and store.study_config(name) is None:
            say(f"{redact(storage)} has no study {name!r} yet: a new one begins", err=True)
        with watch:
            reason = run_study(plan, store, ray_address=ray, observer=watch)
        view = StudyView(name, store)
    end(view, reason, storage, as_json)


def status(
    study: StudyArgument,
    storage: Storage = DEFAULT_STORAGE,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every few seconds, until the search ends.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a study is: counts, best so far, hypervolume, pace, what runs, failures.

    Works while the search runs, and after it; `--watch` until Ctrl-C or its end. Where candidates
    train (node and GPU) is on the screen of `hybridnas search` itself.
    Examples: `hybridnas status quickstart`, `hybridnas status quickstart --watch`
    """
    if watch and as_json:
        raise ConfigError("give --watch or --json, not both")
    name = known_study(study)
    with Store.open(storage, create=False) as store:
        view = StudyView(name, store)
        if as_json:
            print_json(status_json(view))
            return
        print_status(view)
        while watch and alive_session(view) is not None:
            try:
                time.sleep(_WATCH_S)
            except KeyboardInterrupt:
                return
            view = StudyView(name, store)
            console().clear()
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

    +- is a standard error; after a final retraining, the standard deviation between its seeds
    where they differ. What a twin test (`hybridnas ablate`) found of a member with other seeds
    stands below. Stages read G3-S9: three Gated CNN blocks, then nine SSM blocks (A: attention).
    Example: `hybridnas pareto quickstart --plot front.svg`
    """
    if as_json and as_csv:
        raise ConfigError("give --json or --csv, not both")
    with Store.open(storage, create=False) as store:
        view = StudyView(known_study(study), store)
        anew = [] if as_json or as_csv else _trained_anew(view, store)
    if plot is not None:
        from .plot import plot_front

        plot_front(view, plot)
        say_written(plot)
    if as_json:
        print_json(view.front_json())
    elif as_csv:
        write_csv(view)
    else:
        print_front(view)
        for line in anew:
            say(line)


def _trained_anew(view: StudyView, store: Store) -> list[str]:
    """What twin tests say of the front's scores; nothing where one is of a later version, whose
    study this one cannot read."""
    if not any(name.startswith(view.study.name + TWINS) for name in store.study_names()):
        return []
    from ..ablate import read_ablations  # takes scipy along
    from ..ablate.fresh import fresh_words

    with suppress(ConfigError):
        return fresh_words(view, read_ablations(store, view.study.name))
    return []


def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Where to listen: 0.0.0.0 for other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="0: any free port.")
    ] = 8080,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN",
            help="Ask everybody for it. Default: none on this machine alone, else one made up.",
            envvar="HYBRIDNAS_DASHBOARD_TOKEN",
            show_envvar=True,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve the Optuna dashboard on the database, until Ctrl-C.

    It follows a running search. A study's note has its front, with links to the trials, and what
    twin tests said; beside Optuna's plots stand the front with error bars and published
    architectures, the hypervolume by time and GPU time, the front stage by stage, and the effects
    of twin tests. A trial has a picture of its architecture, a
    table of its stages, and how its trainings went. Nothing but notes can be changed in it.

    Examples: `hybridnas dashboard`, `hybridnas dashboard --host 0.0.0.0 --port 9000`
    """
    from ..dashboard import make_dashboard
    from ..dashboard.guard import is_loopback

    if not token:
        token = None if is_loopback(host) else secrets.token_urlsafe(24)
    with (
        Store.open(storage, create=False) as store,
        make_dashboard(store, host, port, token) as server,
    ):
        shown = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
        query = "" if token is None else f"?token={quote(token)}"
        where = f"http://{shown}:{server.server_port}/dashboard/{query}"
        typer.echo(f"{where}  (Ctrl-C ends it)", err=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("", err=True)


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study to write.")] = Path(
        "study.yaml"
    ),
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="STUDY",
            help="A shipped study to copy, under the new file's name.",
        ),
    ] = None,
) -> None:
    """Write a commented study to start from.

    Examples: `hybridnas init study.yaml`, then edit it, then `hybridnas search study.yaml
    --dry-run`; `hybridnas init mine.yaml --from quickstart`, a copy of a shipped study
    """
    if file.exists():
        raise ConfigError(f"{file} is there already: name another file")
    if source is None:
        template = importlib.resources.files(__package__) / "study_template.yaml"
        text = template.read_text(encoding="utf-8")
    else:
        text = find("studies", source).read_text(encoding="utf-8")
        if re.fullmatch(NAME, file.stem):  # a study of the same name may be in the database
            text = re.sub(r"^name:.*$", f"name: {file.stem}", text, count=1, flags=re.M)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    say(f"written: {file}; run it with: hybridnas search {file}")
