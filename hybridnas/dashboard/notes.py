"""Notes in Markdown: of a study, and of the members of its front."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ..ablate import Ablation
from ..counting import number_of
from ..objectives import is_cost
from ..search.problem import figure_of
from ..search.proxy_words import proxy_lines
from ..search.rows import Row, error_words
from ..search.view import StudyView
from ..search.volume import reference_point, volume_words
from ..search.words import (
    bound_words,
    export_command,
    fidelity_words,
    objective_text,
    run_words,
    spent_words,
)
from .figures import axis_words, spread_words
from .stages import stage_table
from .twins import twin_lines

Link = Callable[[int], str]
"""Where the page of a trial is, by its number."""

_NO_BREAK = "\u00a0" * 2


def study_note(view: StudyView, link: Link, twins: Sequence[Ablation] = ()) -> str:
    """What the study is, how far it is, its front, its twin tests, and what to do with it."""
    study = view.study
    lines = [f"## {study.name}", ""]
    if study.description:
        lines += [study.description, ""]
    lines += [f"- {fact}" for fact in _facts(view)]
    lines += ["", "### Pareto front", "", *_front(view, link)]
    if twins:
        lines += ["", "### Twin tests", "", *twin_lines(twins, link)]
    failed = view.failures()
    if failed:
        lines += ["", "### Failures", "", *(f"- {reason}: {n}" for reason, n in failed.items())]
    best = view.best(1)
    if best:
        name = study.name
        lines += [
            *("", "### Next", "", "```"),
            f"hybridnas pareto {name}",
            export_command(name, best[0].number),
            "```",
        ]
    return "\n".join(lines) + "\n"


def _facts(view: StudyView) -> Iterator[str]:
    study, counts = view.study, view.counts()
    states = ", ".join(f"{n} {state}" for state, n in counts.items()) or "none yet"
    yield f"**trials**: {len(view.rows)} ({states})"
    rungs = ", then ".join(fidelity_words(fidelity) for fidelity in study.fidelities)
    yield f"**training**: {study.task.name}, {rungs}"
    yield f"**MACs**: counted {axis_words(view, 'macs').removeprefix('MACs ')}"
    hard, soft = study.bounds(), study.soft()
    if hard:
        yield f"**hard constraints**, kept by all: {bound_words(hard)}"
    if soft:
        of = (
            f"{len(view.retrained)} retrained"
            if view.retrained
            else number_of(len(view.finished), "result")
        )
        yield f"**soft constraints**, kept by {len(view.judged)} of {of}: {bound_words(soft)}"
    volume = view.hypervolume()
    if volume is not None:
        fresh = " (fresh seeds; the plot is of the scores that the search chose by)"
        front = f"the front{fresh * bool(view.retrained)}"
        yield f"**hypervolume** of {front}: {volume_words(volume, reference_point([view]))}"
    cost = view.cost_so_far()
    yield f"**spent**: {spent_words(cost['wall_hours'], cost['gpu_hours'])}"
    yield from (line.replace("proxy:", "**proxy**:", 1) for line in proxy_lines(view))


def _front(view: StudyView, link: Link) -> Iterator[str]:
    members = view.front()
    if not members:
        yield "No result yet." if not view.finished else "No result keeps the constraints."
        return
    if view.retrained:
        yield f"Of {len(view.retrained)} that were trained again: means over fresh seeds."
        yield ""
    if any(spread_words(row, name) for row in members for name in view.objectives):
        yield f"Scores ± their {error_words(members, view.objectives)}."
        yield ""
    yield from _table(
        ["trial", *view.objectives, "stages"],
        (
            [
                f"[{row.number}]({link(row.number)})",
                *(
                    f"{objective_text(n, row.value(n))}{spread_words(row, n)}"
                    for n in view.objectives
                ),
                f"`{row.architecture.short}`",
            ]
            for row in members
        ),
    )


def trial_note(view: StudyView, row: Row, pictures: Sequence[str]) -> str:
    """A member of the front: its scores, its stages, its trainings. pictures: where they are."""
    values = (
        f"**{name}** {objective_text(name, row.value(name))}{spread_words(row, name)}"
        for name in view.objectives
    )
    said = ", ".join(values)
    kind = f" (± is the {error_words([row], view.objectives)})" * ("±" in said)
    lines = [f"On the Pareto front: {said}{kind}.", ""]
    lines += [line for picture in pictures for line in (f"![]({picture})", "")]
    names, *stages = stage_table(view.study, row.architecture, view.num_classes)
    lines += [*_table(names, stages), "", *_table(*_runs(view, row)), "", "```"]
    lines += [export_command(view.study.name, row.number), "```"]
    return "\n".join(lines) + "\n"


def _runs(view: StudyView, row: Row) -> tuple[list[str], list[list[str]]]:
    names = [name for name in view.objectives if not is_cost(name)]
    rows = []
    for run in row.runs:
        found = {run.task: run.evaluation} if run.evaluation else {}
        known = [figure_of(found, name) for name in names]
        scores = [
            "" if v is None else objective_text(n, v) for n, v in zip(names, known, strict=True)
        ]
        ended = run.evaluation
        state = "has not ended" if ended is None else ended.reason or ended.status
        rows.append(
            [
                run_words(run, view.protocols[run.protocol_digest].fidelity),
                *scores,
                state + (", reused" if run.reused else ""),
            ]
        )
    return ["training", *names, "outcome"], rows


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Cells with room around them, which the page's style does not give."""
    yield f"| {' | '.join(names)} |"
    yield f"| {' | '.join(['---'] * len(names))} |"
    for row in rows:
        yield f"| {' | '.join(f'{_NO_BREAK}{cell}{_NO_BREAK}' for cell in row)} |"
