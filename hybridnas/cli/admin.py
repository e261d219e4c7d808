"""Commands about the database and the machine."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable
from typing import Annotated

import typer

from ..config import CALIBRATION, LONGEST_NAME, NAME, TWINS, parent_study
from ..counting import number_of
from ..errors import ConfigError
from ..search.calibrated import calibrated_study
from ..store import Store, redact
from ..task_defaults import TASK_DEFAULTS
from .common import DEFAULT_STORAGE, AsJson, Storage, print_facts, print_json, print_table
from .folding import say

db = typer.Typer(
    help="Look at the database of studies, upgrade it, merge; rename and delete studies.",
    no_args_is_help=True,
)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    app.add_typer(db, name="db")
    app.command()(doctor)


@db.command("info")
def info(storage: Storage = DEFAULT_STORAGE, as_json: AsJson = False) -> None:
    """Show version, size, studies, and rows by table.

    Example: `hybridnas db info --storage sqlite:///hybridnas.db`
    """
    with Store.open(storage, create=False) as store:
        found, names = store.info(), store.study_names()
    document = {
        "url": found.url,
        "backend": found.backend,
        "revision": found.revision,
        "size_bytes": found.size_bytes,
        "studies": names,
        "rows": dict(found.rows),
    }
    if as_json:
        print_json(document)
        return
    print_facts(
        f"Database {found.url}",
        [
            ("backend", found.backend),
            ("version", found.revision),
            ("size", f"{found.size_bytes / 2**20:.1f} MiB"),
            ("studies", ", ".join(names) or "none"),
            *((f"rows of {table}", number) for table, number in found.rows.items()),
        ],
    )


@db.command("upgrade")
def upgrade(storage: Storage = DEFAULT_STORAGE) -> None:
    """Bring the database's tables to this version of hybridnas. Make a copy of it before."""
    before, after = Store.upgrade(storage)
    change = f"is at {after} already" if before == after else f"from {before or 'none'} to {after}"
    say(f"{redact(storage)}: {change}")


@db.command("merge")
def merge(
    other: Annotated[str, typer.Argument(metavar="URL", help="The database to take in.")],
    storage: Storage = DEFAULT_STORAGE,
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Call a study of the other database NEW here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take the studies and evaluations of another database into this one.

    All or nothing; the other database is only read. Evaluations that are here already are not
    taken twice, so a second merge changes nothing, and later searches look the new ones up. A
    study whose name is another's here is refused: give it a name with --rename. Weights are not
    copied: both databases name the same files.

    Example: `hybridnas db merge sqlite:///colleague.db --rename shapes=their_shapes`
    """
    names = dict(_renaming(text) for text in rename or ())
    with Store.open(other, create=False) as source, Store.open(storage) as target:
        found = target.merge(source, names)
    if as_json:
        print_json(dataclasses.asdict(found))
        return
    print_facts(
        f"{redact(other)} into {redact(storage)}",
        [
            ("studies taken in", ", ".join(found.studies) or "none"),
            ("studies here already", ", ".join(found.known_studies) or "none"),
            ("evaluations taken in", found.evaluations),
            ("evaluations here already", found.known_evaluations),
        ],
    )


@db.command("rename")
def rename(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Its name in the database.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name that it is to have.")],
    storage: Storage = DEFAULT_STORAGE,
    yes: Yes = False,
) -> None:
    """Give a study another name, on the dashboard too. Its weights stay where they are.

    The studies of its calibration and its twin tests are renamed with it.

    Example: `hybridnas db rename shapes shapes_v1`
    """
    with Store.open(storage, create=False) as store:
        store.study_contents([study])  # refuses one that is not there
        beside = _beside(study, store.study_names())
        names = {old: new + old.removeprefix(study) for old in (study, *beside)}
        for old, name in names.items():
            _check_name(old, name, "NEW", searched=old == study and store.is_searched(old))
        store.check_new_names(names)
        also = f" (and {', '.join(beside)} likewise)" if beside else ""
        _ask(f"Rename study {study} of {redact(storage)} to {new}{also}?", yes)
        store.rename_studies(names)
    say("\n".join(f"{old} is {name} now" for old, name in names.items()))


@db.command("delete")
def delete(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="Its name in the database.")],
    storage: Storage = DEFAULT_STORAGE,
    keep_evaluations: Annotated[
        bool,
        typer.Option(
            "--keep-evaluations",
            help="Keep the scores, which later searches look up; their weights go.",
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Delete a study: its trials, and the evaluations and weights that no other study has.

    Its twin tests go with it, and its calibration, unless that judges trainings of another study,
    too. There is no way back. Says what there is and what stays, and asks.

    Example: `hybridnas db delete shapes_v1 --keep-evaluations`
    """
    from ..search.weight_files import remove_files

    with Store.open(storage, create=False) as store:
        store.study_contents([study])  # refuses one that is not there
        beside = _beside(study, store.study_names())
        staying = {name: users for name in beside if (users := _users(store, name, study))}
        names = [study, *(name for name in beside if name not in staying)]
        found = store.study_contents(names)
        kept = "stay" if keep_evaluations else "go"
        facts = [
            number_of(found.trials, "trial"),
            f"evaluations: {found.evaluations} that no other study has {kept}, "
            f"{found.shared_evaluations} that others have stay",
            number_of(len(found.weights), "file") + " of weights",
            *(f"{n} stays: it judges trainings of {', '.join(u)}, too" for n, u in staying.items()),
        ]
        words = study + (f" with {', '.join(names[1:])}" if names[1:] else "")
        _ask(f"Delete study {words} of {redact(storage)}? It has {'; '.join(facts)}.", yes)
        gone = store.delete_studies(names, keep_evaluations=keep_evaluations)
    left = remove_files(gone.weights)
    say(f"{words} is deleted: {'; '.join(facts)}")
    for each in left:
        say(f"weights {each}", err=True)


def _users(store: Store, name: str, study: str) -> list[str]:
    """Whose trainings calibrations judge besides: studies under which they are shown."""
    names = store.study_names()
    others = [n for n in names if n not in {study, *_beside(study, names)}]
    return [
        other
        for other in others
        if any(known.record.study == name for known in calibrated_study(store, other))
    ]


def _beside(study: str, names: Iterable[str]) -> list[str]:
    """The studies that a study's calibration and twin tests, the calibration's too, were trained
    under."""
    calibration = study + CALIBRATION
    begins = (study + TWINS, calibration + TWINS)
    return [n for n in names if n == calibration or n.startswith(begins)]


def _ask(question: str, yes: bool) -> None:
    """Raises ConfigError where nobody can answer, typer.Exit where the answer is no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("nobody is here to be asked: give --yes")
    if not typer.confirm(question):
        say("Nothing was changed.")
        raise typer.Exit


def _check_name(old: str, name: str, what: str, *, searched: bool = False) -> None:
    """Raises ConfigError for no name, and where one of a calibration or a twin test becomes that of
    a study that is searched, or the other way round: commands go by these names. searched: what is
    called old is known to be, whatever its name says, which earlier versions let one give it."""
    if not (re.fullmatch(NAME, name) and len(name) <= LONGEST_NAME):
        raise ConfigError(
            f"{what}: a study's name has letters, digits, '.', '_' and '-', and at most "
            f"{LONGEST_NAME} of them; got {name!r}"
        )
    before, after = "" if searched else _mark(old), _mark(name)
    if after and after != before:
        raise ConfigError(
            f"{what}: {name!r} would be the name of a calibration's or a twin test's trainings "
            f"({after}), which {old!r} does not hold"
        )
    if before and not after:
        raise ConfigError(
            f"{what}: {old!r} holds the trainings of a calibration or a twin test, whose name has "
            f"{before!r} after that of its study; got {name!r}"
        )


def _mark(name: str) -> str:
    """What tells that a name is of a calibration or a twin test; nothing for a study of its own."""
    parent = parent_study(name)
    rest = "" if parent is None else name.removeprefix(parent)
    return TWINS if rest.startswith(TWINS) else rest


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals):
        raise ConfigError(f"--rename takes OLD=NEW, got {text!r}")
    _check_name(old, new, "--rename takes OLD=NEW")
    return old, new


def doctor(
    storage: Storage = DEFAULT_STORAGE,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="Also look at this data set.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            metavar="TASK",
            help="What --data is for: classification, segmentation or detection. Default: the "
            "one whose layout it has.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what this machine can do, and what is missing. Writes nothing.

    Example: `hybridnas doctor --data DIR`
    """
    if task is not None and task not in TASK_DEFAULTS:
        raise ConfigError(f"unknown task {task!r}; allowed: {', '.join(TASK_DEFAULTS)}")
    from .doctor import examine

    found = examine(storage, data, task)
    if as_json:
        print_json([finding.__dict__ for finding in found])
        return
    rows = [[f.what, "ok" if f.ok else "-", f.found, f.advice] for f in found]
    print_table("This machine", ("what", "", "found", "advice"), rows)
