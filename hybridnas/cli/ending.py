"""What a search says when it ends."""

from __future__ import annotations

import importlib.util
import os
from collections import Counter

import typer

from ..search.unreadable import unreadable, unreadable_words
from ..search.view import StudyView
from ..search.words import ENDED, export_command
from ..store import redact
from .common import DEFAULT_STORAGE, console, print_json
from .folding import say
from .summary import print_front, status_json

_COMMAND = 58  # characters that a command takes before what it does is said


def end(view: StudyView, reason: str, storage: str, as_json: bool) -> None:
    """Says what was found. Exits with 130 where the search was interrupted, with 1 where every
    trial failed. storage: as it was given."""
    if as_json:
        print_json({"stopped": reason, **status_json(view), "front": view.front_json()})
    else:
        _print_end(view, reason, storage)
    if reason == "interrupted":
        raise typer.Exit(130)
    counts = view.counts()
    if counts["failed"] and not counts["ok"] + counts["pruned"]:
        say(f"error: {_none_succeeded(view)}", err=True)
        raise typer.Exit(1)


def _none_succeeded(view: StudyView) -> str:
    """`no trial succeeded: 4 failed, 3 of them by error (a mixer with a bug)`."""
    ended = [e for row in view.rows if row.state == "failed" for e in row.evaluations.values()]
    words = f"no trial succeeded: {view.counts()['failed']} failed"
    failures = [each for each in ended if each.reason is not None]
    for reason, number in Counter(each.reason for each in failures).most_common(1):
        messages = Counter(each.message for each in failures if each.reason == reason)
        words += f", {number} of them by {reason} ({messages.most_common(1)[0][0]})"
    return words


def _print_end(view: StudyView, reason: str, storage: str) -> None:
    """The front, how the search ended, and what to do next."""
    print_front(view)
    counts = view.counts()
    why = ENDED.get(reason, reason)
    stopped = f", {counts['pruned']} stopped at a lower rung" if counts["pruned"] else ""
    say(f"\n{counts['ok']} evaluated{stopped}, {counts['failed']} failed; {why}.")
    if unread := unreadable_words(unreadable(view)):
        say(f"Could not be read, and were passed over: {unread}.")
    usual = os.environ.get("HYBRIDNAS_STORAGE", DEFAULT_STORAGE)
    elsewhere = "" if storage == usual else f" --storage {redact(storage)}"
    typer.echo("Next:")
    begin = {f"hybridnas search {view.study.name} --resume": "go on"}
    following = (begin if reason == "interrupted" else {}) | _next(view)
    does = {command + elsewhere: words for command, words in following.items()}
    out = console()
    aside = max(_COMMAND, *map(len, does)) + max(map(len, does.values())) + 4
    for command, words in does.items():
        if not out.is_terminal or aside <= out.width:
            typer.echo(f"  {command:<{_COMMAND}}  {words}")
        else:
            typer.echo(f"  {command}")  # never folded: it is there to be copied
            say(f"      {words}")


def _next(view: StudyView) -> dict[str, str]:
    """Commands ready to paste, with what they do."""
    name = view.study.name
    if not view.front():
        return {f"hybridnas status {name}": "counts, failures by reason"}
    best = view.best(1)[0]
    found = {
        f"hybridnas report {name} --out {name}.html": "all of it, to read and to send",
        export_command(name, best.number): "the best as a timm model",
    }
    if importlib.util.find_spec("matplotlib") is not None:
        found[f"hybridnas pareto {name} --plot {name}.svg"] = "the front as a picture"
    mixers = {block.mixer_name for s in best.architecture.stages for block in s.blocks}
    if mixers & {"ssm", "attention"}:
        found[f"hybridnas ablate {name}:{best.number}"] = "whether it needs its SSM and attention"
    return {**found, "hybridnas dashboard": "the study in a browser"}
