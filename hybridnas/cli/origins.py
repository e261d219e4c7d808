"""What an export says of the trial that it is."""

from __future__ import annotations

from ..counting import number_of
from ..export import Origin
from ..export.card import PATH
from ..search.rows import Row, error_words
from ..search.view import StudyView
from ..search.words import unseen_command


def origin_of(view: StudyView, row: Row) -> Origin:
    """What an export says of the trial that it is."""
    evaluation = row.evaluation
    assert evaluation is not None, "only evaluated trials have weights"
    protocol = view.protocols[evaluation.protocol_digest]
    return Origin(
        study=view.study.name,
        trial=row.number,
        metrics=evaluation.metrics,
        # The database's protocol may name another folder, of an earlier study with the same images.
        protocol=protocol.model_copy(update={"task": view.study.task}),
        class_names=protocol.class_names,
        machine=evaluation.machine,
        versions=evaluation.versions,
        git_commit=evaluation.git_commit,
        again=_again(view, row),
        unseen=unseen_command(PATH, view.study.task),
    )


def _again(view: StudyView, row: Row) -> str:
    """What the final retraining said of a trial, whose weights are not among those exported."""
    if not row.fresh:
        return ""
    name = view.study.measured
    error = row.error(name)
    around = "" if error is None else f" ({error_words([row], [name])} {error:.4f})"
    seeds = number_of(row.seeds, "fresh seed")
    return f" Trained again with {seeds}, it had {name} {row.value(name):.4f}{around}."
