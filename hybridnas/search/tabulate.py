"""Studies of one small space as a table: a row an architecture, a column the score of a training.

What `hybridnas bench search` replays searches on (hybridnas.tables), and what others can analyse
without training anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from ..config import Fidelity, Protocol
from ..counting import number_of
from ..errors import ConfigError
from ..objectives import best
from ..parts import Option
from ..space import Genome, SearchSpace
from ..store import Evaluation, RunRecord
from ..task_defaults import TASK_DEFAULTS
from .counted import counted_cost
from .view import StudyView

_MOST = 1_000_000  # architectures of a space that is gone through
_COSTS = ("macs", "params")

Training = tuple[Fidelity, int]  # with its seed


@dataclass(frozen=True)
class Tabulated:
    """columns: of the table, by name, each of (architectures,); None where nothing was measured.
    card: what says how to read them (tables.card.Card); None where no seed was trained with every
    architecture at any fidelity, or decisions have combinations that are no architecture of their
    own. lacking: architectures of the space without an evaluation. combined: every combination is
    an architecture."""

    columns: Mapping[str, Sequence[Option]]
    card: Mapping[str, Any] | None
    lacking: int
    combined: bool


@dataclass
class _Entry:
    """What is known of an architecture."""

    genome: Genome
    trained: dict[Training, Evaluation] = field(default_factory=dict)


def tabulate(views: Sequence[StudyView], name: str, metric: str | None = None) -> Tabulated:
    """The table of some studies, all that one recipe has trained of one space.

    The studies may differ in seeds and fidelities, in nothing else that decides a score. name: of
    the table. metric: what replays search by, of the task's own figures; None: the first measured
    objective. Raises ConfigError where studies do not fit together, or the space is too large.
    """
    space = _space_of(views)
    _check_recipes(views)
    study = views[0].study
    metric = metric or study.measured
    known = TASK_DEFAULTS[study.task.name].scored
    if metric not in known:
        raise ConfigError(f"metric: {metric!r} is none of the task's: {', '.join(known)}")
    entries = {space.decode(genome).digest: _Entry(genome) for genome in space.all_genomes()}
    size = len(entries)
    for view in views:
        _collect(view, entries)
    rows = [entry for entry in entries.values() if entry.trained]
    if not rows:
        names = ", ".join(view.study.name for view in views)
        raise ConfigError(f"{names}: no architecture of {space.name} has been evaluated")
    columns = {gene: [entry.genome[gene] for entry in rows] for gene in space.genes}
    # At one size of image, whatever each was trained at: of the longest training of all.
    top = max(views, key=lambda view: view.study.fidelity.work)
    costs = [counted_cost(top.study, space.decode(entry.genome), top.num_classes) for entry in rows]
    columns |= {name: [getattr(cost, name) for cost in costs] for name in _COSTS}
    trainings = sorted({t for entry in rows for t in entry.trained}, key=_order)
    ladder = sorted({fidelity for fidelity, _ in trainings}, key=lambda f: f.work)
    labels = {t: f"rung{ladder.index(t[0]) + 1}_seed{t[1]}" for t in trainings}
    for training, label in labels.items():
        ended = [entry.trained.get(training) for entry in rows]
        for figure in known:
            columns[f"{figure}_{label}"] = [e.metrics.get(figure) if e else None for e in ended]
        columns[f"seconds_{label}"] = [e.timing.get("total_s") if e else None for e in ended]
    whole = {t: label for t, label in labels.items() if None not in columns[f"{metric}_{label}"]}
    lacking = size - len(rows)
    combined = size == math.prod(map(len, space.genes.values()))
    complete = whole and combined and not lacking
    card = None
    if complete:
        told = _card(views, metric, columns, whole)
        most, least = (of(cost.macs for cost in costs) for of in (max, min))
        if space.spec.equal_macs is None and most > 1.05 * least:
            told["reference"]["macs"] = 1.05 * most
        card = {"name": name, "genes": list(space.genes), **told}
    return Tabulated(columns, card, lacking, combined)


def _space_of(views: Sequence[StudyView]) -> SearchSpace:
    spaces = [SearchSpace.load(view.study.space) for view in views]
    for view, space in zip(views, spaces, strict=True):
        if space.spec.raw != spaces[0].spec.raw:
            raise ConfigError(
                f"{view.study.name} searched another space than {views[0].study.name}: a table is "
                f"of one ({space.name}, {spaces[0].name})"
            )
    if spaces[0].size() > _MOST:
        raise ConfigError(
            f"a table has a row for each architecture, and {spaces[0].name} has "
            f"{spaces[0].size():.3g}; allowed are up to {_MOST:,}"
        )
    return spaces[0]


def _check_recipes(views: Sequence[StudyView]) -> None:
    """Raises ConfigError where more than seeds and fidelities differ between protocols."""
    told: dict[str, str] = {}
    for view in views:
        for digest in {run.protocol_digest for row in view.rows for run in _own(row.runs)}:
            told.setdefault(_without_fidelity(view.protocols[digest]), view.study.name)
    if len(told) > 1:
        raise ConfigError(
            f"{' and '.join(sorted(set(told.values())))} were trained by different recipes or on "
            f"different data: a table is of one; only seeds and fidelities may differ"
        )


def _without_fidelity(protocol: Protocol) -> str:
    same = {"seed": 0, "fidelity": Fidelity(epochs=1, resolution=1)}
    return protocol.model_copy(update=same).digest


def _own(runs: Sequence[RunRecord]) -> Iterator[RunRecord]:
    """Those on a study's own task."""
    return (run for run in runs if not run.task)


def _collect(view: StudyView, entries: Mapping[str, _Entry]) -> None:
    """Architectures from outside of the space, as twins may be (`ablate`), are left out."""
    for row in view.rows:
        entry = entries.get(row.digest)
        if entry is None:
            continue
        for run in _own(row.runs):
            if run.evaluation is not None and run.evaluation.status == "ok":
                protocol = view.protocols[run.protocol_digest]
                entry.trained[protocol.fidelity, protocol.seed] = run.evaluation


def _order(training: Training) -> tuple[float, int]:
    return training[0].work, training[1]


def _card(
    views: Sequence[StudyView],
    metric: str,
    columns: Mapping[str, Sequence[Any]],
    whole: Mapping[Training, str],
) -> dict[str, Any]:
    """whole: labels of the trainings that every architecture has, by rung."""
    by_fidelity: dict[Fidelity, list[str]] = {}
    for (fidelity, _), label in whole.items():
        by_fidelity.setdefault(fidelity, []).append(label)
    seconds = {
        fidelity: fmean(s for each in found for s in columns[f"seconds_{each}"] if s is not None)
        for fidelity, found in by_fidelity.items()
    }
    scores = {f: [f"{metric}_{label}" for label in found] for f, found in by_fidelity.items()}
    top = [columns[name] for name in list(scores.values())[-1]]
    means = [fmean(of_row) for of_row in zip(*top, strict=True)]
    return {
        "description": views[0].study.description,
        "source": _source(views),
        "made_by": "; ".join(f"hybridnas search {view.study.name}" for view in views),
        "costs": list(_COSTS),
        "metric": metric,
        "direction": best(metric),
        "fidelities": [
            {"scores": names, "cost": round(seconds[fidelity] / max(seconds.values()), 4)}
            for fidelity, names in scores.items()
        ],
        "reference": {metric: median(means)},
    }


def _source(views: Sequence[StudyView]) -> str:
    """Where and when the trainings were, by what."""
    ended = [
        run.evaluation
        for view in views
        for row in view.rows
        for run in _own(row.runs)
        if run.evaluation is not None
    ]
    devices = sorted({str(each.machine.get("device", "unknown")) for each in ended})
    torch = sorted({each.versions.get("torch", "unknown") for each in ended})
    days = sorted({f"{each.ended_at:%Y-%m-%d}" for each in ended})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    number = number_of(len(ended), "training")
    return f"{number} on {', '.join(devices)} with torch {', '.join(torch)}, {span}"
