"""What can be an objective or a constraint: figures of a task's score and of a training, which are
measured, and costs in closed form.

Of a study's other tasks (`also`) the name stands before: `ade20k.miou`, `ade20k.macs`.

Units: top1, top5, miou, aacc, macc, box_ap, mask_ap, ... are shares of 1; loss is in nats; macs are
of one image, params a number; latency_ms is of one batch by the study's table; memory_mb and
train_hours as `figure` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from .errors import meant
from .task_defaults import TASK_DEFAULTS

Direction = Literal["maximize", "minimize"]

# Known before training, in closed form; every other objective is measured.
CLOSED_FORM: frozenset[str] = frozenset({"macs", "params", "latency_ms"})
# Of these, what is no property of an evaluation but by the study's own table.
OF_THE_STUDY: frozenset[str] = frozenset({"latency_ms"})
# Measured of every training, whatever it learns.
OF_TRAINING: tuple[str, ...] = ("memory_mb", "train_hours")
BEST: Mapping[str, Direction] = {
    **{name: "maximize" for task in TASK_DEFAULTS.values() for name in task.measures},
    **{name: "minimize" for task in TASK_DEFAULTS.values() for name in task.losses},
    **dict.fromkeys(("macs", "params", "latency_ms", *OF_TRAINING), "minimize"),
}
SHARES: frozenset[str] = frozenset(n for n, direction in BEST.items() if direction == "maximize")
# Of measured ones, where a score says how sure it is: the name of its standard error.
STANDARD_ERRORS: Mapping[str, str] = {"top1": "top1_se"}


def parted(name: str) -> tuple[str, str]:
    """`ade20k.miou` as task and figure; the task of a study itself has no name: ""."""
    task, _, own = name.rpartition(".")
    return task, own


def named(task: str, own: str) -> str:
    """The opposite of `parted`."""
    return f"{task}.{own}" if task else own


def is_cost(name: str) -> bool:
    """Whether it is known before training."""
    return parted(name)[1] in CLOSED_FORM


def best(name: str) -> Direction:
    return BEST[parted(name)[1]]


def loss_sign(name: str) -> float:
    """What turns its value into a loss, of which less is better: 1 or -1."""
    return 1.0 if best(name) == "minimize" else -1.0


def figure(
    name: str, metrics: Mapping[str, float | None], timing: Mapping[str, float | None]
) -> float | None:
    """An objective of an evaluation's metrics and timing, or None where it was not measured.

    memory_mb: 10^6 bytes of GPU memory at the peak of training and scoring, without the images that
    are kept there. train_hours: wall-clock of the training alone, on the share of the machine that
    the evaluation had.
    """
    if name == "memory_mb":
        peak, images = timing.get("gpu_peak_mib"), timing.get("gpu_images_mib")
        return None if peak is None or images is None else (peak - images) * 2**20 / 1e6
    if name == "train_hours":
        seconds = timing.get("train_s")
        return None if seconds is None else seconds / 3600
    return metrics.get(name)


def measured_first(objectives: Iterable[str]) -> list[str]:
    """The names in their order, those of costs after all others."""
    return sorted(objectives, key=is_cost)


def check_objectives(objectives: Mapping[str, Direction], tasks: Mapping[str, str]) -> None:
    """Raises ValueError for what a task does not measure, a wrong direction, or no score.

    tasks: what each is (`segmentation`), by its name in the study, the study's own as "".
    """
    for name, direction in objectives.items():
        task, own = parted(name)
        if task not in tasks:
            known = ", ".join(filter(None, tasks)) or "none"
            raise ValueError(f"objectives.{name}: also has no task {task!r}; it has: {known}")
        check_measured("objectives", [own], tasks[task])
        if direction != best(name):
            raise ValueError(f"objectives.{name}: got {direction!r}, allowed is {best(name)!r}")
    for task, kind in tasks.items():
        scored = [named(task, own) for own in TASK_DEFAULTS[kind].scored]
        if not objectives.keys() & set(scored):
            raise ValueError(f"objectives: name at least one that is scored ({', '.join(scored)})")


def check_measured(key: str, names: Iterable[str], task: str) -> None:
    """Raises ValueError for what is no figure of the task's score, a training, or a network."""
    known = (*TASK_DEFAULTS[task].scored, *OF_TRAINING)
    for name in names:
        if name not in CLOSED_FORM and name not in known:
            near = meant(name, (*known, *CLOSED_FORM))
            raise ValueError(
                f"{key}: {task} measures {', '.join(known)} (and counts "
                f"{', '.join(sorted(CLOSED_FORM))}); got {name}{near}"
            )
