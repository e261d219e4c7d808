"""The command that writes what a study found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import parent_study
from ..errors import ConfigError
from ..search.view import StudyView
from ..store import Store
from .common import DEFAULT_STORAGE, AsJson, Storage, StudyArgument, say_written
from .resolve import known_study


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    study: StudyArgument,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="One .html file that opens anywhere, or FILE.md with its pictures in "
            "FILE_files, a folder beside it.",
            show_default=False,
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write a report of a study: what it found, how sure that is, what it cost, how to repeat it.

    A summary in words, the front with pictures of its architectures, what each decision does to
    the score at equal MACs (with 95 % intervals), which mixer stands in which stage, how the
    search went, failures, protocols, versions, and the study's YAML. The page loads nothing from
    elsewhere, so it can be mailed. `--json` prints the facts that all of it is written from.
    Works while the search runs, and after it. Example: `hybridnas report quickstart --out q.html`
    """
    from ..ablate import read_ablations
    from ..report import facts_of, write_report
    from ..report.files import check_name

    if out is None and not as_json:
        raise ConfigError("give --out FILE.html, --out FILE.md, or --json")
    if out is not None:
        check_name(out)
    name = known_study(study)
    with Store.open(storage, create=False) as store:
        view = StudyView(name, store)
        parent = parent_study(name)
        if parent is not None:
            raise ConfigError(
                f"{name!r} holds the trainings of a twin test or a calibration, which the report "
                f"of its study is about: `hybridnas report {parent}`"
            )
        facts = facts_of(view, read_ablations(store, view.study.name))
    if out is not None:
        say_written(*write_report(view, facts, out))
    if as_json:
        typer.echo(facts.model_dump_json(indent=2))
