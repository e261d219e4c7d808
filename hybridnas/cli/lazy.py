"""Which module each command is in: it is imported when the command is called, no sooner."""

from __future__ import annotations

import importlib
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# By name: the module, and the first sentence of the command's help.
COMMANDS = {
    "search": ("studies", "Run or continue a study."),
    "status": (
        "studies",
        "Show how far a study is: counts, best so far, hypervolume, pace, what runs, failures.",
    ),
    "pareto": (
        "studies",
        "Show the Pareto front of a study: the trials that no other beats in every objective.",
    ),
    "dashboard": ("studies", "Serve the Optuna dashboard on the database, until Ctrl-C."),
    "init": ("studies", "Write a commented study to start from."),
    "report": (
        "reports",
        "Write a report of a study: what it found, how sure that is, what it cost, how to repeat "
        "it.",
    ),
    "calibrate": (
        "calibrations",
        "Tell how well a study's cheap training ranks architectures as a longer one does.",
    ),
    "ablate": (
        "ablations",
        "Tell whether a stage needs its SSM, or its attention: the twin test.",
    ),
    "compare": (
        "comparing",
        "Put the fronts of studies side by side: hypervolume with a common reference point.",
    ),
    "cost": ("costs", "Count parameters and MACs in closed form, stage by stage."),
    "profile": (
        "profiles",
        "Measure latency, throughput and peak memory here, of inference and of a training step.",
    ),
    "latency": ("profiles", "Make a latency table of a space for this device, and check it."),
    "train": ("training", "Train an architecture by a recipe, on one GPU or several."),
    "export": (
        "exports",
        'Write a model as a folder for `timm.create_model("local-dir:DIR")`.',
    ),
    "evaluate": (
        "exports",
        "Score an exported model, in fp32, just as the search scored it.",
    ),
    "doctor": ("admin", "Say what this machine can do, and what is missing. Writes nothing."),
    "archs": ("archs", "List published architectures, or show one."),
    "spaces": ("spaces", "List search spaces, show one, or sample it."),
    "bench": ("bench", "Measure this machine with the project's benchmarks."),
    "table": (
        "tables",
        "Make tables of results, which searches can be replayed on, and read them.",
    ),
    "db": (
        "admin",
        "Look at the database of studies, upgrade it, merge; rename and delete studies.",
    ),
}


class LazyGroup(TyperGroup):
    """The commands by name and one line, for help; in full once one of them is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, line) in COMMANDS.items():
            self.add_command(TyperCommand(name, short_help=line))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed if name is None else load_command(name), rest


def load_command(name: str) -> Any:
    """A command, or a group of them, with its options, of typer's kind."""
    return commands_in(COMMANDS[name][0])[name]


def commands_in(module: str) -> dict[str, Any]:
    """All that a module registers."""
    app = typer.Typer(rich_markup_mode="markdown")
    app.callback()(lambda: None)  # a group, also around a single command
    importlib.import_module(f"{__package__}.{module}").register(app)
    group: Any = typer.main.get_command(app)
    return dict(group.commands)
