"""A study in the database: Optuna's tables, which the dashboard reads, and ours.

The core's only way to write. Every step is safe to repeat: a process that dies between two of
them leaves what the next one can put right.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from ..objectives import OF_THE_STUDY
from ..store import Assignment, Evaluation, Place, Store, TrialRecord
from .attributes import architecture_attributes, open_optuna_study
from .feasibility import Costs, Subject
from .fresh import Proposal
from .problem import Problem
from .proposer import CONSTRAINTS, Distributions


class Ledger:
    """Trials by their number, which Optuna's tables and ours share."""

    def __init__(self, problem: Problem, store: Store) -> None:
        """Opens the study in Optuna's tables, or makes it."""
        self._problem, self._name, self._store = problem, problem.name, store
        self.records: Mapping[int, TrialRecord] = {t.number: t for t in store.trials(self._name)}
        anew = not self.records
        storage = store.optuna_storage()
        with store.explained():
            study = open_optuna_study(storage, self._name, problem.objectives, anew)
            self.trials: Sequence[FrozenTrial] = study.get_trials(deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in self.trials}
        self._first_leases: dict[int, str | Evaluation] = {}
        self._put: set[str] = set()  # digests of terms

    def create(
        self, proposal: Proposal, distributions: Distributions, slacks: Sequence[float]
    ) -> int:
        """A trial of a proposal, complete but for its values, and its first lease; its number."""
        architecture = proposal.architecture
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(proposal.genome),
            distributions=dict(distributions),
            user_attrs=architecture_attributes(architecture, proposal.costs),
            system_attrs={**proposal.notes, CONSTRAINTS: list(slacks)},
        )
        wanted = self._wanted(architecture, proposal.costs, self._problem.first)
        begun = self._store.begin_trial(self._name, template, wanted)
        self._ids[begun.number] = begun.trial_id
        self._first_leases[begun.number] = begun.lease
        return begun.number

    def lease(
        self, number: int, architecture: Subject, costs: Costs, place: Place
    ) -> str | Evaluation:
        """The token of a new lease; or the evaluation, given to the trial, where it is known."""
        first = self._first_leases.pop(number, None)
        if first is not None:  # it came with the trial
            return first
        wanted = self._wanted(architecture, costs, place)
        return self._store.lease_or_reuse(self._name, number, wanted)

    def _wanted(self, architecture: Subject, costs: Costs, place: Place) -> Assignment:
        terms = self._problem.terms(place)
        if terms.digest not in self._put:
            self._store.put_protocol(terms.digest, terms.to_json())
            self._put.add(terms.digest)
        return Assignment(
            architecture_digest=architecture.digest,
            architecture_json=architecture.to_json(),
            protocol_digest=terms.digest,
            costs={name: costs[name] for name in OF_THE_STUDY if name in costs},
            place=place,
            figures=tuple(self._problem.figures_of(place.task)),
        )

    def record(self, number: int) -> TrialRecord | None:
        """A trial in our tables as it is now; None before its first lease."""
        return self._store.trial(self._name, number)

    def put_back(self, number: int) -> None:
        """Nobody evaluates it any more: a later run is to; so it waits, and is marked."""
        self._store.put_back_trial(self._name, number, self._ids[number])

    def take_up(self, number: int) -> None:
        """It is to be evaluated after all."""
        self._store.resume_trial(self._ids[number])

    def mark(self, numbers: Collection[int], word: str) -> None:
        """Says in our tables what trials wait for, or why they ended."""
        self._store.mark(self._name, numbers, word)

    def mark_left_retrainings(self) -> None:
        """Of who was trained again when an earlier run died: now nobody does, until a new lease."""
        records = self.records.values()
        left = [record.number for record in records if (run := record.leased) and run.repeat]
        if left:
            self.mark(left, "waiting")

    def note(self, number: int, attributes: Mapping[str, Any]) -> None:
        """Shows something on the dashboard of a trial that goes on."""
        self._store.note_trial(self._ids[number], attributes)

    def end(
        self,
        number: int,
        state: TrialState,
        values: Sequence[float] | None = None,
        attributes: Mapping[str, Any] | None = None,
        slacks: Sequence[float] | None = None,
    ) -> None:
        """Ends a trial in Optuna's tables.

        slacks: of all constraints, hard ones first; None: of those the trial was made with.
        """
        trial_id, system = self._ids[number], {} if slacks is None else {CONSTRAINTS: slacks}
        self._store.end_trial(trial_id, state, values, attributes or {}, system)
