"""The command line. Every command parses, calls the library, and prints."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Annotated, Any

import typer

from ..errors import HybridnasError
from .lazy import LazyGroup

app = typer.Typer(
    name="hybridnas",
    cls=LazyGroup,
    help="Neural architecture search over hybrid token mixers for vision backbones.\n\n"
    "Begin with `hybridnas search quickstart`, then `hybridnas pareto quickstart`. "
    "For your own images: `hybridnas init study.yaml`, edit it, `hybridnas search study.yaml`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
# click's, which typer brings along under changing names.
_USAGE_ERROR: type[Exception] = typer.BadParameter.mro()[1]


def _print_version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        typer.echo(f"hybridnas {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None: ...


class StderrNow(logging.Handler):
    """Logs to what is stderr at the time: while a bar is shown, that prints above it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(f"{self.format(record)}\n")
        except (OSError, ValueError):  # it is closed
            self.handleError(record)


def main() -> None:
    """The console script. Exit codes: 0 done, 2 bad input, 1 anything else, 130 interrupted."""
    shape = "%(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=shape, handlers=[StderrNow()])
    warnings.filterwarnings("ignore", category=FutureWarning)
    sys.path.append(os.getcwd())  # a user's own mixer is imported by its path from here
    try:
        code = app(prog_name="hybridnas", standalone_mode=False)
    except HybridnasError as error:
        if not error.told_by_first:
            _say(f"error: {error}")
        sys.exit(2)
    except _USAGE_ERROR as error:
        _explain(error)
        sys.exit(2)
    sys.exit(code)


def _explain(error: Exception) -> None:
    """Typer's finding about the words of the command line, as one line like all our errors."""
    cause: Any = error.__cause__
    if type(cause).__name__ == "ValidationError":  # pydantic's, of which newer ones are made
        from ..strict_yaml import value_words

        error.message = value_words(cause)  # type: ignore[attr-defined]
    message = getattr(error, "format_message", error.__str__)().strip().removesuffix(".")
    if not message:  # no words at all: typer has printed the help
        return
    context = getattr(error, "ctx", None)
    see = f"; see `{context.command_path} --help`" if context is not None else ""
    _say(f"error: {' '.join(message.split())}{see}")


def _say(text: str) -> None:
    from .folding import say  # imports rich: what goes well does not wait for it

    say(text, err=True)
