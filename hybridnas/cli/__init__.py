"""The command line. Every command parses, calls the library, and prints."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import typer

from ..errors import HybridnasError
from . import admin, models, spaces, studies

app = typer.Typer(
    name="hybridnas",
    help="Neural architecture search over hybrid token mixers for vision backbones.\n\n"
    "Begin with `hybridnas search quickstart`, then `hybridnas pareto quickstart`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (studies, models, spaces, admin):
    module.register(app)


def main() -> None:
    """The console script. Exit codes: 0 done, 2 bad input, 1 anything else, 130 interrupted."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning)
    sys.path.append(os.getcwd())  # a user's own mixer is imported by its path from here
    try:
        app()
    except HybridnasError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
