"""The command that puts studies side by side."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal

import typer

from ..counting import number_of
from ..errors import ConfigError, meant
from ..search.bench.statistics import Interval
from ..search.comparison import Comparison, compare, matching
from ..search.view import StudyView
from ..search.volume import box_words, reference_point
from ..search.words import point_words, time_words
from ..store import Store
from .common import DEFAULT_STORAGE, AsJson, Storage, print_json, print_table, say_written
from .comparison_plot import plot_comparison
from .folding import say
from .resolve import known_study

Studies = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY...",
        help="Names in the database. A pattern in quotes, 'ehvi-*', stands for one row: the mean "
        "over the studies that it matches.",
    ),
]
Reference = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="What counts as nothing, for each objective. Default: of a score a tenth beyond the "
        "worst of each study's first ten results, of a cost the limit or the largest value.",
    ),
]
Plot = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Attainment and hypervolume over time (.svg, .png, .pdf)."),
]
Over = Annotated[
    Literal["results", "trainings", "hours", "gpu_hours"],
    typer.Option(help="What hypervolume is drawn over."),
]

_NAMED = 3  # studies in a note; there may be fifty in a row


def register(app: typer.Typer) -> None:
    app.command("compare")(compare_studies)


def compare_studies(
    studies: Studies,
    storage: Storage = DEFAULT_STORAGE,
    reference: Reference = None,
    plot: Plot = None,
    over: Over = "results",
    as_json: AsJson = False,
) -> None:
    """Put the fronts of studies side by side: hypervolume with a common reference point.

    Hypervolume is a share of the box from the reference point, which is worth nothing (a score
    just beyond the worst of the first results, the limit or the largest value of a cost), to the
    best there can be (1, 0). Beside the fronts as they are it is given after as many results as
    each study has, trained or known before, since a front grows with what was seen, and, where the
    best were trained anew, of all that the search had (five dominate less than twenty). Several
    studies in a row give their mean and its 95 % interval (Student's t over the studies). `joint
    front` counts the members that a row has on the front of all studies together.

    Examples: `hybridnas compare before after`; `hybridnas compare 'ehvi-*' 'random-*' --plot
    samplers.svg`
    """
    with Store.open(storage, create=False) as store:
        names = store.study_names()
        groups = {
            text: [StudyView(name, store) for name in matching(known_study(text), names)]
            for text in studies
        }
    found = compare(groups, _point(reference or [], next(iter(groups.values()))[0]))
    if plot is not None:
        plot_comparison(found, over, plot)
        say_written(plot)
    if as_json:
        print_json(_as_json(found))
    else:
        _print(found)


def _point(words: list[str], view: StudyView) -> dict[str, float] | None:
    if not words:
        return None
    found: dict[str, float] = {}
    for word in words:
        name, _, text = word.partition("=")
        try:
            found[name] = float(text)
        except ValueError:
            raise ConfigError(f"--reference takes NAME=VALUE, got {word!r}") from None
    if unknown := [name for name in found if name not in view.objectives]:
        raise ConfigError(
            f"--reference: {view.study.name} has no objective {', '.join(unknown)}"
            f"{meant(unknown[0], view.objectives)}; it has: {', '.join(view.objectives)}"
        )
    if lacking := [name for name in view.objectives if name not in found]:
        raise ConfigError(
            f"--reference: give one for each objective ({', '.join(view.objectives)}); "
            f"{', '.join(lacking)} is missing"
        )
    return found


def _as_json(found: Comparison) -> dict[str, Any]:
    return {
        "reference": dict(found.reference),
        "common_results": found.common,
        "notes": list(found.notes),
        "rows": [
            {
                "label": row.label,
                "studies": [view.study.name for view in row.views],
                "hypervolume": asdict(row.volume),
                "hypervolumes": list(row.volumes),
                "hypervolume_of_search": asdict(row.searched),
                "hypervolume_after_common": asdict(row.volume_after(found.common)),
                "results": [len(moments) for moments in row.moments],
                "trainings": [moments[-1].trainings for moments in row.moments],
                "gpu_hours": [moments[-1].gpu_hours for moments in row.moments],
                "joint_front": joint,
            }
            for row, joint in zip(found.rows, found.joint, strict=True)
        ],
    }


def _print(found: Comparison) -> None:
    several = any(len(row.views) > 1 for row in found.rows)
    gpu = any(moments[-1].gpu_hours for row in found.rows for moments in row.moments)
    anew = _trained_anew(found)
    rows = []
    for row, joint in zip(found.rows, found.joint, strict=True):
        number, last = len(row.views), [moments[-1] for moments in row.moments]
        rows.append(
            [
                row.label,
                *([number] if several else []),
                f"{fmean(moment.results for moment in last):.0f}",
                f"{fmean(moment.trainings for moment in last):.0f}",
                *([time_words(fmean(moment.gpu_hours for moment in last))] if gpu else []),
                f"{fmean(len(view.front()) for view in row.views):.0f}",
                _interval(row.volume),
                *([_interval(row.searched)] if anew else []),
                _interval(row.volume_after(found.common)),
                joint,
            ]
        )
    mean = ", mean [95 %]" if several else ""
    headings = [
        "study",
        *(["studies"] if several else []),
        *("results", "trained here", *(["GPU time"] if gpu else []), "front", f"hypervolume{mean}"),
        *([f"of the search{mean}"] if anew else []),
        f"after {number_of(found.common, 'result')}{mean}",
        "joint front",
    ]
    print_table(f"Hypervolume: shares of the {box_words(found.reference)}", headings, rows)
    for note in (*_explained(found), *_other_points(found), *found.notes):
        say(note)


def _trained_anew(found: Comparison) -> bool:
    return any(view.retrained for row in found.rows for view in row.views)


def _explained(found: Comparison) -> list[str]:
    """How the columns are to be read."""
    notes = [
        f"after {number_of(found.common, 'result')}: what each study had after as many as all of "
        f"them have; joint front: how many of the front of all studies together are of this row"
    ]
    views = [view for row in found.rows for view in row.views]
    if any(run.reused for view in views for row in view.rows for run in row.runs):
        notes.append(
            "trained here: by the search itself; results that were known already, of another "
            "study, cost it no training"
        )
    if _trained_anew(found):
        notes.append(
            "hypervolume, front: of the few that were trained anew, by fresh seeds; of the search, "
            "after results: of all that it had, by the scores that it chose by"
        )
    numbers = sorted({len(row.views) for row in found.rows} - {1})
    if numbers:
        told = " to ".join(map(str, sorted({numbers[0], numbers[-1]})))
        notes.append(
            f"intervals: Student's t, 95 %, of the mean over {told} studies, none where all agree"
        )
    return notes


def _other_points(found: Comparison) -> list[str]:
    """Of studies whose `status` has another hypervolume than stands here, and why."""
    own = {v.study.name: reference_point([v]) for row in found.rows for v in row.views}
    other = [
        f"{name} {point_words({n: v for n, v in point.items() if v != found.reference[n]})}"
        for name, point in own.items()
        if point != found.reference
    ]
    if not other:
        return []
    if len(other) > _NAMED:
        other = [*other[:_NAMED], f"and {len(other) - _NAMED} more"]
    return [
        f"status and report have another hypervolume, for each study from a point of its own: "
        f"{'; '.join(other)}"
    ]


def _interval(found: Interval) -> str:
    value = f"{found.value:z.4f}"
    if found.low is None or found.high is None:
        return value
    return f"{value} [{found.low:z.4f}, {found.high:z.4f}]"
