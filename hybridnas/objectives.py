"""What can be an objective: figures that a task's score measures, and costs in closed form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from .task_defaults import TASK_DEFAULTS

Direction = Literal["maximize", "minimize"]

# Known before training, in closed form; every other objective is measured.
CLOSED_FORM: frozenset[str] = frozenset({"macs", "params", "latency_ms"})
# Of these, what is no property of an evaluation but by the study's own table.
OF_THE_STUDY: frozenset[str] = frozenset({"latency_ms"})
BEST: Mapping[str, Direction] = {
    **{name: "maximize" for task in TASK_DEFAULTS.values() for name in task.measures},
    "macs": "minimize",
    "params": "minimize",
    "latency_ms": "minimize",
}
# Of measured ones, where a score says how sure it is: the name of its standard error.
STANDARD_ERRORS: Mapping[str, str] = {"top1": "top1_se"}


def measured_first(objectives: Iterable[str]) -> list[str]:
    """The names in their order, those of costs after all others."""
    return sorted(objectives, key=lambda name: name in CLOSED_FORM)


def check_objectives(objectives: Mapping[str, Direction], task: str) -> None:
    """Raises ValueError for what the task does not measure, a wrong direction, or costs alone."""
    measures = TASK_DEFAULTS[task].measures
    for name, direction in objectives.items():
        if name not in CLOSED_FORM and name not in measures:
            raise ValueError(
                f"objectives: {task} measures {', '.join(measures)} (and counts "
                f"{', '.join(sorted(CLOSED_FORM))}); got {name}"
            )
        if direction != BEST[name]:
            raise ValueError(f"objectives.{name}: got {direction!r}, allowed is {BEST[name]!r}")
    if all(name in CLOSED_FORM for name in objectives):
        raise ValueError(f"objectives: name at least one that is measured ({', '.join(measures)})")
