"""Which candidates keep their weights: the front's members and the best few."""

from __future__ import annotations

from ..store import Store
from . import weights
from .view import StudyView


def prune_weights(study: str, store: Store, folder: str) -> None:
    """Deletes the weights in the study's folder but those of its front and its best few."""
    view = StudyView(study, store)
    rows = (*view.front(), *view.best(view.study.keep_weights))
    kept = {row.evaluation.id for row in rows if row.evaluation is not None}
    for evaluation in (run.evaluation for row in view.rows for run in row.runs):
        if evaluation is None or evaluation.weights is None or evaluation.id in kept:
            continue
        assert evaluation.id is not None, "what the store gives has an id"
        ours = evaluation.weights["path"].startswith(f"{folder}/")
        # What another study made, or reuses, is not ours to delete.
        if ours and store.studies_of(evaluation.id) == {study}:
            store.set_weights(evaluation.id, None)
            weights.remove(evaluation.weights)
