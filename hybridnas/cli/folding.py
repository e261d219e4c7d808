"""Sentences in a terminal: folded between words, and never within a command to copy."""

from __future__ import annotations

import re
import textwrap

import typer
from rich.console import Console

# Commands as our sentences have them: in backquotes, alone in brackets, or last, after a colon.
_COMMAND = re.compile(r"`[^`\n]+`|(?<=\()hybridnas [^()\n]+(?=\))|(?<=: )hybridnas [^\n]+$")
_KEPT = "\ue000"  # for private use: no text has it, and textwrap does not fold there


def folded(text: str, width: int) -> str:
    """Each line folded to so many characters, under its own indent. What is longer than that (a
    path, a command) has a line to itself, which the terminal wraps and copies as one. width: of a
    terminal that does not know its own (COLUMNS=0), lines are left as they are."""
    if width < 1:
        return text
    whole = _COMMAND.sub(lambda found: found[0].replace(" ", _KEPT), text)
    return "\n".join(_fold(line, width) for line in whole.split("\n")).replace(_KEPT, " ")


def say(text: str, err: bool = False) -> None:
    """On stdout or stderr; elsewhere than in a terminal lines are left as they are."""
    out = Console(stderr=err)
    typer.echo(folded(text, out.width) if out.is_terminal else text, err=err)


def _fold(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line,
        width,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        expand_tabs=False,
    )
