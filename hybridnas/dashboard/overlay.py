"""Optuna's storage as the page sees it: what is in the database, and over it what we show besides.

The page finds notes, plots and files in system attributes. Ours are laid over those of the
database when they are read, and never written: a finished trial takes none, the study's own are
searched for every trial, and what is written is old when it is read.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Container, Mapping
from typing import Any

from optuna.storages import RDBStorage, _CachedStorage
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from ..store import Store
from . import artifacts
from .content import Content

ON_FRONT = "hybridnas:front"
"""A system attribute that the members of a front have here."""


class OverlaidStorage(_CachedStorage):
    """Caches what Optuna's own does: without that every poll reads the whole study again."""

    def __init__(self, backend: RDBStorage, store: Store) -> None:
        super().__init__(backend)
        self._content = Content(store)
        self._store = store
        self.names: dict[int, str] = {}  # of our studies, by Optuna's ids
        self._overlaid: dict[int, tuple[FrozenTrial, bool, FrozenTrial]] = {}

    def finish(self) -> None:
        """Waits for what is being read."""
        self._content.finish()

    def look(self, study_id: int) -> None:
        """Somebody looks at a study."""
        if study_id not in self.names:
            try:
                name = self.get_study_name_from_id(study_id)
            except KeyError:
                return
            if self._store.study_config(name) is None:
                return  # somebody else's
            self.names[study_id] = name

        def version() -> object:
            """Changes with every trial that begins, is noted on, or ends."""
            trials = super(OverlaidStorage, self).get_all_trials(study_id, deepcopy=False)
            open_ones = (len(t.user_attrs) for t in trials if not t.state.is_finished())
            return Counter(trial.state for trial in trials), sum(open_ones)

        def find(number: int) -> int:
            return self.get_trial_id_from_study_id_trial_number(study_id, number)

        self._content.look(study_id, self.names[study_id], find, version)

    def get_all_studies(self) -> list[FrozenStudy]:
        studies = super().get_all_studies()
        for study in studies:
            study.system_attrs = self._study_attributes(study._study_id, study.system_attrs)
        return studies

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._study_attributes(study_id, super().get_study_system_attrs(study_id))

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = super().get_trial(trial_id)
        place = self._trial_id_to_study_id_and_number.get(trial_id)
        return trial if place is None else self._overlay(trial, place[0])

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, states)
        return [self._overlay(trial, study_id) for trial in trials]

    def _overlay(self, trial: FrozenTrial, study_id: int) -> FrozenTrial:
        """The same object for the same trial, as long as nothing changes."""
        if study_id not in self.names:
            return trial
        on_front = trial.number in self._content.of(study_id).front
        before = self._overlaid.get(trial._trial_id)
        if before is not None and before[0] is trial and before[1] == on_front:
            return before[2]
        shown = copy.copy(trial)
        ours: dict[str, Any] = {ON_FRONT: True} if on_front else {}
        ours |= artifacts.listed(study_id, trial.number)
        shown.system_attrs = {**trial.system_attrs, **ours}
        self._overlaid[trial._trial_id] = trial, on_front, shown
        return shown

    def _study_attributes(self, study_id: int, known: Mapping[str, Any]) -> dict[str, Any]:
        """A note that somebody wrote stands in the place of ours."""
        shown = dict(known)
        for key, value in self._content.of(study_id).attributes.items():
            if ":note_str:" in key:
                stem = key.removesuffix("0")
                own = [name for name in known if name.startswith(stem)]
                if not any(known[name] for name in own):
                    shown = {n: v for n, v in shown.items() if n not in own} | {key: value}
            else:
                shown.setdefault(key, value)
        return shown
