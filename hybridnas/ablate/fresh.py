"""Scores of a study's trials with seeds that they were not chosen by, from their twin tests."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from ..counting import number_of
from ..objectives import loss_sign
from ..search.rows import Row
from ..search.view import StudyView
from ..search.words import objective_text
from .results import Ablation


def fresh_scores(view: StudyView, row: Row, ablations: Sequence[Ablation]) -> list[float]:
    """Of a trial's architecture under the training that it was chosen by, from the latest twin test
    of those given; none without one."""
    trainings = {view.protocols[digest].seedless().digest for digest in view.top_protocols}
    for found in reversed(ablations):
        scores = [*found.original.scores.values()]
        same = found.original.architecture.digest == row.digest
        if same and scores and found.metric == view.study.measured:
            if found.protocol.digest in trainings:
                return scores
    return []


def fresh_words(view: StudyView, ablations: Sequence[Ablation]) -> list[str]:
    """A sentence a member of the front that a twin test has trained anew; none of a study whose
    front goes by fresh seeds itself."""
    name, said = view.study.measured, []
    for row in () if view.retrained else view.front():
        if scores := fresh_scores(view, row, ablations):
            mean, known = fmean(scores), row.value(name)
            flatters = loss_sign(name) * (mean - known) > 0
            said.append(
                f"trial {row.number}, trained anew for its twin test with "
                f"{number_of(len(scores), 'seed')}, has {name} {objective_text(name, mean)} on "
                f"average{': the score above, which it was chosen by, flatters' * flatters}"
            )
    return said
