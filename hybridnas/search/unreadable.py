"""How many images could not be read, and were passed over (task.max_corrupt allows some)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ..config import Task
from ..counting import number_of
from ..objectives import parted
from ..store import Evaluation
from .view import StudyView

# What an evaluation's metrics call them: of images that are trained on, of those that are scored.
TRAIN, VAL = "num_corrupt_train", "num_corrupt"

Metrics = Mapping[str, float | None]


def most_unreadable(evaluations: Iterable[Evaluation | None], name: str) -> int:
    """The most that any of them met: those that stream meet an image when they come to it."""
    found = (each.metrics.get(name) for each in evaluations if each is not None)
    return int(max((number for number in found if number), default=0))


def unreadable(view: StudyView) -> dict[str, dict[str, int]]:
    """By task of a study, how many of which split; of those alone that have any."""
    by_task: dict[str, list[Evaluation | None]] = {task: [] for task in view.study.tasks}
    for row in view.rows:
        for run in row.runs:
            by_task[run.task].append(run.evaluation)
    found = {
        name: _by_split(
            view.study.tasks[name].task, {key: most_unreadable(ended, key) for key in (TRAIN, VAL)}
        )
        for name, ended in by_task.items()
    }
    return {task: splits for task, splits in found.items() if splits}


def unreadable_words(found: Mapping[str, Mapping[str, int]]) -> str:
    """`1 image of train, 3 images of val`; nothing where there are none."""
    return ", ".join(
        f"{task and f'{task}: '}{number_of(number, 'image')} of {split}"
        for task, splits in found.items()
        for split, number in splits.items()
    )


def words_of_training(task: Task, metrics: Metrics) -> str:
    """The same of a single training."""
    return unreadable_words({"": _by_split(task, metrics)})


def passed_over(metrics: Metrics) -> int:
    """Of all tasks and splits of a trial, by figures that are called as objectives are."""
    return int(
        sum(value or 0 for name, value in metrics.items() if parted(name)[1] in (TRAIN, VAL))
    )


def _by_split(task: Task, metrics: Metrics) -> dict[str, int]:
    found = {
        split: int(metrics.get(key) or 0) for split, key in ((task.train, TRAIN), (task.val, VAL))
    }
    return {split: number for split, number in found.items() if number}
