"""Which candidates keep their weights: the front's members, the best few, who is to be trained
again before the front is declared, and whose trial has not ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..store import Store
from .view import StudyView
from .weight_files import remove

_SETTLED_BETWEEN = 10
# A study of thousands is read in seconds, in which nobody else is served.
_TIME_SHARE = 0.02

_log = logging.getLogger(__name__)


class Pruning:
    """`prune_weights` now and then while results come in, in a fiftieth of the time at most."""

    def __init__(
        self,
        study: str,
        store: Store,
        folder: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._arguments, self._clock = (study, store, folder), clock
        self._settled, self._not_before = 0, 0.0

    def settled(self) -> None:
        """A candidate has been settled."""
        self._settled += 1
        began = self._clock()
        if self._settled < _SETTLED_BETWEEN or began < self._not_before:
            return
        prune_weights(*self._arguments)
        ended = self._clock()
        self._settled, self._not_before = 0, ended + (ended - began) / _TIME_SHARE


def prune_weights(study: str, store: Store, folder: str) -> None:
    """Deletes the weights in the study's folder but those that are kept."""
    view = StudyView(study, store)
    finalists = (row for row in view.rows if row.number in view.finalists)
    # Between two tasks: the last one may bring it onto the front.
    going_on = (row for row in view.rows if row.state in ("queued", "running"))
    rows = (*view.front(), *view.best(view.study.keep_weights), *finalists, *going_on)
    kept = {row.evaluation.id for row in rows if row.evaluation is not None}
    for evaluation in (run.evaluation for row in view.rows for run in row.runs):
        if evaluation is None or evaluation.weights is None or evaluation.id in kept:
            continue
        assert evaluation.id is not None, "what the store gives has an id"
        ours = evaluation.weights["path"].startswith(f"{folder}/")
        # What another study made, or reuses, is not ours to delete.
        if ours and store.studies_of(evaluation.id) == {study}:
            store.set_weights(evaluation.id, None)
            try:
                remove(evaluation.weights)
            except OSError as error:  # no reason for a search to end
                _log.warning("weights %s stay: %s", evaluation.weights["path"], error)
