"""What the page shows of a study besides what Optuna's tables hold: its note, plots, and front.

It is read from our tables while somebody looks, at most every half minute, by a thread of its own.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ablate import Ablation, read_ablations
from ..errors import HybridnasError
from ..search.view import StudyView
from ..store import Store
from .artifacts import pictures
from .figures import figures
from .notes import study_note, trial_note
from .twins import twin_figures

_PAUSE_S = 30.0  # between two readings of a study
_SHARE = 0.1  # of the time that reading may take
_PATIENCE_S = 2.0  # of who looks at a study that was not read yet

FindTrial = Callable[[int], int]
"""Optuna's id of a trial, by its number."""


@dataclass(frozen=True)
class Snapshot:
    """attributes: of the study, in the form of Optuna's system attributes. front: numbers."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    front: frozenset[int] = frozenset()


class _Study:
    """What was read of a study, and how it is read again."""

    def __init__(self) -> None:
        self.snapshot = Snapshot()
        self.version: object = None  # of what was read
        self.due = 0.0  # when it may be read again
        self.lock = threading.Lock()  # held by who reads
        self.is_read = threading.Event()


class Content:
    """Snapshots of studies by Optuna's id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._studies: dict[int, _Study] = {}

    def of(self, study_id: int) -> Snapshot:
        """As it was read last; empty before that."""
        known = self._studies.get(study_id)
        return known.snapshot if known else Snapshot()

    def look(
        self, study_id: int, name: str, find: FindTrial, version: Callable[[], object]
    ) -> None:
        """Somebody looks at a study: it is read behind his back where it has changed; the first
        time he waits for it, but not for long.

        version: of what Optuna's tables say; while it and the twin tests stay the same nothing else
        is read.
        """
        study = self._studies.setdefault(study_id, _Study())

        def read() -> None:
            began = time.monotonic()
            try:
                twins = self._twins(name)
                now = version(), twins
                if now != study.version and (found := self._read(study_id, name, find, twins)):
                    study.snapshot, study.version = found, now
            finally:
                took = time.monotonic() - began
                study.due = time.monotonic() + max(_PAUSE_S, took / _SHARE)
                study.is_read.set()
                study.lock.release()

        if time.monotonic() >= study.due and study.lock.acquire(blocking=False):
            threading.Thread(target=read, daemon=True, name=f"dashboard {name}").start()
        study.is_read.wait(_PATIENCE_S)

    def finish(self) -> None:
        """Waits for what is being read."""
        for study in list(self._studies.values()):
            with study.lock:
                pass

    def _twins(self, name: str) -> list[Ablation]:
        """Those of a study's trials; none where they cannot be read just now."""
        try:
            return read_ablations(self._store, name)
        except HybridnasError as error:
            logging.getLogger(__name__).debug("twins of %s: %s", name, error)
            return []

    def _read(
        self, study_id: int, name: str, find: FindTrial, twins: Sequence[Ablation]
    ) -> Snapshot | None:
        """None for what is no study of architectures, or cannot be read just now."""
        try:
            return snapshot(StudyView(name, self._store), study_id, find, twins)
        except HybridnasError as error:
            logging.getLogger(__name__).debug("study %s: %s", name, error)
            return None


def snapshot(
    view: StudyView, study_id: int, find: FindTrial, twins: Sequence[Ablation]
) -> Snapshot:
    def link(number: int) -> str:
        return f"/dashboard/studies/{study_id}/trials?numbers={number}"

    attributes: dict[str, Any] = {"dashboard:note_ver": 0}
    attributes["dashboard:note_str:0"] = study_note(view, link, twins)
    for name, figure in (figures(view) | twin_figures(twins)).items():
        attributes[f"dashboard:plot_data:{name}:0"] = json.dumps(figure, separators=(",", ":"))
    members = view.front()
    for row in members:
        trial_id = find(row.number)
        attributes[f"dashboard:{trial_id}:note_ver"] = 0
        attributes[f"dashboard:{trial_id}:note_str:0"] = trial_note(
            view, row, pictures(study_id, trial_id, row.number)
        )
    return Snapshot(attributes, frozenset(row.number for row in members))
