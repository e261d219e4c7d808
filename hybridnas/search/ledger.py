"""A study in the database: Optuna's tables, which the dashboard reads, and ours.

The core's only way to write. Every step is safe to repeat: a process that dies between two of
them leaves what the next one can put right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from ..objectives import OF_THE_STUDY
from ..store import Evaluation, Store, TrialRecord
from .attributes import architecture_attributes, open_optuna_study
from .feasibility import Costs, Subject
from .fresh import Proposal
from .patience import patiently
from .problem import Problem, Terms
from .proposer import Distributions


class Ledger:
    """Trials by their number, which Optuna's tables and ours share."""

    def __init__(self, problem: Problem, store: Store) -> None:
        """Opens the study in Optuna's tables, or makes it."""
        self._name, self._store = problem.name, store
        self._storage = store.optuna_storage()
        self.records: Mapping[int, TrialRecord] = {t.number: t for t in store.trials(self._name)}
        anew = not self.records
        self._study = open_optuna_study(self._storage, self._name, problem.objectives, anew)
        self.trials: Sequence[FrozenTrial] = self._study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in self.trials}
        self._put: set[str] = set()  # digests of terms

    def create(
        self, proposal: Proposal, distributions: Distributions, slacks: Sequence[float]
    ) -> int:
        """A trial of a proposal, complete but for its values; its number."""
        architecture = proposal.architecture
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(proposal.genome),
            distributions=dict(distributions),
            user_attrs=architecture_attributes(architecture, proposal.costs),
            # The older list of constraints is what the dashboard reads, and Optuna 5 reads it too.
            system_attrs={**proposal.notes, "constraints": list(slacks)},
        )
        trial_id = self._storage.create_new_trial(self._study._study_id, template)
        number = self._storage.get_trial_number_from_id(trial_id)
        self._ids[number] = trial_id
        return number

    def lease(
        self,
        number: int,
        architecture: Subject,
        costs: Costs,
        terms: Terms,
        rung: int,
        repeat: int,
    ) -> str | Evaluation:
        """The token of a new lease; or the evaluation, given to the trial, where it is known."""
        digest = architecture.digest
        known = self._store.finished(digest, terms.digest)
        own = {name: costs[name] for name in OF_THE_STUDY if name in costs}
        place = (self._name, number, digest, terms.digest)
        if known is not None:
            assert known.id is not None, "what the store gives has an id"
            self._store.reuse(*place, known.id, own, rung, repeat)
            return known
        if terms.digest not in self._put:
            self._store.put_protocol(terms.digest, terms.to_json())
            self._put.add(terms.digest)
        self._store.put_architecture(digest, architecture.to_json())
        return self._store.lease(*place, own, rung, repeat)

    def record(self, number: int) -> TrialRecord | None:
        """A trial in our tables as it is now; None before its first lease."""
        return self._store.trial(self._name, number)

    def put_back(self, number: int) -> None:
        """Nobody evaluates it any more: a later run is to."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.WAITING)

    def take_up(self, number: int) -> None:
        """It is to be evaluated after all."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.RUNNING)

    def mark(self, numbers: Collection[int], word: str) -> None:
        """Says in our tables what trials wait for, or why they ended."""
        self._store.mark(self._name, numbers, word)

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Shows something on the dashboard of a trial that goes on."""
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(self._ids[number], name, value)

    def end(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Ends a trial in Optuna's tables; waits for a database that is away for a while."""
        patiently(lambda: self._end(number, state, values, attributes or {}))

    def _end(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None,
        attributes: Mapping[str, Any],
    ) -> None:
        if self._storage.get_trial(self._ids[number]).state.is_finished():
            return  # an earlier try got through, though its answer did not
        self.note(number, attributes)
        self._storage.set_trial_state_values(self._ids[number], state, values)
