"""Figures and settings of a study as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ..config import Bound, Fidelity, Study, Task
from ..counting import in_units, number_of
from ..data_folder import split_names
from ..objectives import parted
from ..rank_correlation import FEWEST
from ..store import RunRecord

FINALISTS = "front by front, the least crowded first"
"""Which results a final retraining takes, as `finals.finalists` does."""

ENDED: Mapping[str, str] = {
    "trials": "the budget of trials is spent",
    "hours": "the budget of hours is spent",
    "gpu_hours": "the budget of GPU hours is spent",
    "exhausted": "every architecture that fits has been tried",
    "interrupted": "interrupted; go on with --resume",
}
"""Why a search ended, by the word of its session."""


def objective_text(name: str, value: float) -> str:
    """An objective's value as people read it."""
    _, own = parted(name)
    if own in ("latency_ms", "train_hours"):
        return f"{value:z.3f}"
    if own == "memory_mb":
        return f"{value:z.0f}"
    return in_units(value) if own in ("macs", "params") else f"{value:z.4f}"


def bound_words(bounds: Mapping[str, Bound]) -> str:
    """`macs at most 4.50 G, top1 at least 0.7000`."""
    return ", ".join(
        f"{name} {word} {objective_text(name, value)}"
        for name, bound in bounds.items()
        for word, value in (("at least", bound.min), ("at most", bound.max))
        if value is not None
    )


def point_words(point: Mapping[str, float]) -> str:
    """`top1 0.0000, macs 40.0 M`."""
    return ", ".join(f"{name} {objective_text(name, value)}" for name, value in point.items())


def time_words(hours: float) -> str:
    """`81 s`, `14 min`, `3.2 hours`."""
    if hours < 100 / 3600:
        return f"{3600 * hours:.0f} s"
    return f"{60 * hours:.0f} min" if hours < 1 else f"{hours:.1f} hours"


def spent_words(wall_hours: float, gpu_hours: float) -> str:
    """Of a study: `14 min, 3.2 hours of GPU time`."""
    gpu = f"{time_words(gpu_hours)} of GPU time" if gpu_hours else "no GPU"
    return f"{time_words(wall_hours)}, {gpu}"


class TimeUnit(NamedTuple):
    """in_hour: how many of it an hour has."""

    name: str
    in_hour: int


def time_unit(hours: float) -> TimeUnit:
    """What an axis that ends there is marked in."""
    return TimeUnit("hours", 1) if hours >= 2 else TimeUnit("minutes", 60)


def rest_words(retrained: bool) -> str:
    """Of results that are on no front and break no soft constraint. retrained: the front is drawn
    among those of a final retraining."""
    return "not retrained, or dominated" if retrained else "dominated"


def export_command(study: str, trial: int) -> str:
    """What makes a timm model of a trial, in a folder that no other trial is exported to."""
    return f"hybridnas export {study}:{trial} --out {export_folder(study, trial)}"


def export_folder(study: str, trial: int) -> str:
    return f"exported/{study}-{trial}"


def unseen_command(folder: str, task: Task) -> str | None:
    """What scores an export on images that chose nothing: on the data's split for tests, by the
    name that it has there; NAME stands for another. None: the data have no split besides the two
    that the task uses."""
    names = split_names(task.name, task.data)
    if names is None:  # nobody knows: as most sets call it
        names = ("test", "NAME")
    others = [name for name in names if name not in (task.train, task.val)]
    if not others:
        return None
    split = next((name for name in others if name.startswith("test")), "NAME")
    return f"hybridnas evaluate {folder} --split {split}"


def calibrate_command(study: Study, size: int) -> str | None:
    """What judges a study's lowest rung by its top one, or its only fidelity by a longer one; None
    in a space of too few architectures. size: of its space."""
    if size < FEWEST:
        return None
    words = f"hybridnas calibrate {study.name} --archs {min(24, size)}"
    only = study.fidelity if len(study.fidelities) == 1 else None
    return words if only is None else f"{words} --epochs {4 * only.epochs}"


def fidelity_words(fidelity: Fidelity) -> str:
    """`15 epochs at 64 px of 25 % of the images`; `16,000 iterations at 512 px`."""
    steps = fidelity.iterations
    length = number_of(fidelity.epochs, "epoch") if steps is None else number_of(steps, "iteration")
    share = "" if fidelity.share == 1 else f" of {100 * fidelity.share:g} % of the images"
    return f"{length} at {fidelity.resolution} px{share}"


def run_words(run: RunRecord, fidelity: Fidelity) -> str:
    """`ade20k, 16,000 iterations at 512 px, seed 2`. fidelity: of the run's protocol."""
    seed = f"seed {run.repeat}" if run.repeat else ""
    return ", ".join(filter(None, (run.task, fidelity_words(fidelity), seed)))
