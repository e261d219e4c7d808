"""What each task measures, and what a study of it has where its YAML says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TaskDefaults:
    """measures: figures of its score that can be objectives, shares of 1 that grow as a model gets
    better; the first is the usual one. losses: those that fall. task, recipe: keys of these where
    they differ from classification's, which are the defaults of config.Task and config.Recipe."""

    measures: tuple[str, ...]
    losses: tuple[str, ...] = ()
    task: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scored(self) -> tuple[str, ...]:
        """All figures of its score that can be objectives."""
        return self.measures + self.losses

    @property
    def objectives(self) -> dict[str, str]:
        return {self.measures[0]: "maximize", "macs": "minimize"}


TASK_DEFAULTS: Mapping[str, TaskDefaults] = {
    "classification": TaskDefaults(("top1", "top5"), losses=("loss",)),
    "segmentation": TaskDefaults(
        ("miou", "aacc", "macc"),
        losses=("loss",),
        task={"train": "training", "val": "validation"},
        recipe={"batch_size": 16, "lr": 5e-4, "label_smoothing": 0.0},
    ),
    "detection": TaskDefaults(
        ("box_ap", "mask_ap", "box_ap50", "mask_ap50", "box_ap75", "mask_ap75"),
        task={"train": "train2017", "val": "val2017"},
        recipe={"batch_size": 16, "lr": 2e-4, "label_smoothing": 0.0},
    ),
}


def task_named(raw: object) -> str:
    """The task that a study's `task` means, in whatever form it comes; classification if it does
    not say."""
    if isinstance(raw, str):
        return raw
    given = raw.get("name") if isinstance(raw, Mapping) else getattr(raw, "name", None)
    return str(given or "classification")


def with_default_objectives(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's YAML with the objectives of its task where it gives none."""
    known = TASK_DEFAULTS.get(task_named(raw.get("task")))
    return dict(raw) if known is None else {"objectives": known.objectives, **raw}


def with_default_recipe(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What holds a task and a recipe, with the recipe of the task where it gives none."""
    known, recipe = TASK_DEFAULTS.get(task_named(raw.get("task"))), raw.get("recipe", {})
    if known is None or not isinstance(recipe, Mapping):  # said elsewhere
        return dict(raw)
    return {**raw, "recipe": {**known.recipe, **recipe}} if known.recipe else dict(raw)
