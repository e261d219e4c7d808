"""Studies side by side: hypervolume with one reference point, attainment, the joint front."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from ..pareto import non_dominated
from .bench.statistics import Interval, mean_curve
from .progress import Moment, progress
from .studies import no_study
from .view import StudyView
from .volume import reference_point, volume
from .words import bound_words


@dataclass(frozen=True)
class Compared:
    """One study, or several under one label that differ by their seeds, say.

    volumes: of each study's front, as `pareto` shows it. moments: how each came there.
    """

    label: str
    views: Sequence[StudyView]
    volumes: Sequence[float]
    moments: Sequence[Sequence[Moment]]

    @property
    def volume(self) -> Interval:
        return _mean(self.volumes)

    @property
    def searched(self) -> Interval:
        """Of what the search alone had at its end: more results than are trained anew, with the
        luck of those that it chose by."""
        return _mean([every[-1].hypervolume for every in self.moments])

    def volume_after(self, results: int) -> Interval:
        """Of what the search alone had after so many results."""
        return _mean([every[results - 1].hypervolume for every in self.moments])


def _mean(volumes: Sequence[float]) -> Interval:
    return mean_curve(np.array(volumes)[:, None], within=(0, 1))[0]


@dataclass(frozen=True)
class Comparison:
    """reference: of the hypervolumes. common: as many results as each study has. joint: how many
    members of the front of all together are of each label, in their order."""

    reference: Mapping[str, float]
    rows: Sequence[Compared]
    common: int
    joint: Sequence[int]
    notes: Sequence[str]


def matching(pattern: str, names: Sequence[str]) -> list[str]:
    """The studies that a name, or a pattern such as `ehvi-*`, means. Raises ConfigError."""
    found = [name for name in names if name == pattern] or fnmatch.filter(names, pattern)
    if not found:
        raise no_study(pattern, names)
    return found


def compare(
    groups: Mapping[str, Sequence[StudyView]], reference: Mapping[str, float] | None = None
) -> Comparison:
    """groups: studies by label. reference: None: `reference_point` of all of them.

    Raises ConfigError where they have other objectives, or one of them no result.
    """
    every = [view for views in groups.values() for view in views]
    _check(every)
    names = every[0].objectives
    point = {name: (reference or reference_point(every))[name] for name in names}
    rows = [
        Compared(
            label,
            views,
            [volume(view.losses(view.front(), names), point) for view in views],
            [progress(view, point) for view in views],
        )
        for label, views in groups.items()
    ]
    common = min(len(moments) for row in rows for moments in row.moments)
    return Comparison(point, rows, common, _joint(rows, names), _notes(every))


def _check(views: Sequence[StudyView]) -> None:
    first = views[0]
    for view in views:
        if {*view.objectives} != {*first.objectives}:
            raise ConfigError(
                f"studies with other objectives cannot be compared: {first.study.name} has "
                f"{', '.join(first.objectives)}, {view.study.name} has {', '.join(view.objectives)}"
            )
        if not view.judged:
            raise ConfigError(f"study {view.study.name!r} has no result yet")


def _joint(rows: Sequence[Compared], names: Sequence[str]) -> list[int]:
    losses = [
        np.concatenate([view.losses(view.front(), names) for view in row.views]) for row in rows
    ]
    owner = np.repeat(np.arange(len(rows)), [len(each) for each in losses])
    keep = non_dominated(np.concatenate(losses))
    return [int((keep & (owner == row)).sum()) for row in range(len(rows))]


def _notes(views: Sequence[StudyView]) -> list[str]:
    """What is to be known of scores that stand side by side."""
    notes = []
    if len({frozenset(_trainings_of(view)) for view in views}) > 1:
        words = ", ".join(f"{v.study.name} {'+'.join(_trainings_of(v))}" for v in views)
        notes.append(f"their protocols differ, so scores are not of the same training: {words}")
    anew = [view.study.name for view in views if view.retrained]
    if 0 < len(anew) < len(views):
        notes.append(
            f"fronts of {_named(anew)} are means over fresh seeds, those of "
            f"{_named([v.study.name for v in views if not v.retrained])} the scores that the "
            f"search chose by, which flatter: hypervolume and joint front favour them"
        )
    limits: dict[str, list[str]] = {}
    for view in views:
        limits.setdefault(bound_words(view.study.bounds()) or "none", []).append(view.study.name)
    if len(limits) > 1:
        words = "; ".join(f"{limit} ({_named(names)})" for limit, names in limits.items())
        notes.append(f"their limits on costs differ: {words}")
    return notes


def _named(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _trainings_of(view: StudyView) -> list[str]:
    """Digests of the protocols that scores at the top rung are of, on all tasks, whatever their
    seeds."""
    top = len(view.study.fidelities) - 1
    runs = (run for row in view.rows for run in row.runs)
    others = {run.protocol_digest for run in runs if run.task and run.rung == top}
    protocols = (view.protocols[digest] for digest in view.top_protocols | others)
    return sorted({protocol.seedless().digest for protocol in protocols})
