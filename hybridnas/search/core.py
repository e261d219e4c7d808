"""The search core: owns the study in the database; asks, decides, tells, reconciles.

It knows neither Ray nor training: whoever drives it asks for a candidate, has it evaluated under
the candidate's lease, and settles it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from ..objectives import CLOSED_FORM, OF_THE_STUDY
from ..store import Evaluation, Store, TrialRecord
from .attributes import (
    architecture_attributes,
    gpu_seconds,
    open_optuna_study,
    result_attributes,
)
from .feasibility import Subject
from .fresh import FreshProposals
from .leases import evaluation_of
from .observer import Candidate, Finished, Observer, Silent
from .patience import patiently
from .plan import Plan, feasibility, fitting_references
from .proposer import Proposer
from .samplers import make_sampler


class SearchCore:
    """One study's life: `ask` until `stop_reason`, `settle` each candidate."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        observer: Observer | None = None,
    ) -> None:
        """Opens or creates the study in the store, and tells it results that it missed."""
        self.study, self.space, self.protocol = plan.study, plan.space, plan.protocol
        self.store = store
        self.observer: Observer = observer or Silent()
        self.running: dict[int, Candidate] = {}
        self._exhausted = False
        store.put_protocol(self.protocol.digest, self.protocol.to_json())
        self._storage = store.optuna_storage()
        anew = not store.trials(self.study.name)
        self._optuna = open_optuna_study(self._storage, plan.study, anew)
        trials = self._optuna.get_trials(deepcopy=False)
        # A resumed search goes on with other random numbers than it began with.
        given = self.study.sampler.seed
        seed = (self.study.seed if given is None else given) + 1_000_003 * len(trials)
        self._feasibility = feasibility(plan)
        objectives = self.study.objectives
        sampler = make_sampler(self.study.sampler, self._feasibility, objectives, seed)
        self._proposer = Proposer(self.space.genes, list(objectives.values()), sampler)
        self._fresh = FreshProposals(
            self._feasibility, self._proposer, seed, fitting_references(plan)
        )
        self._count = len(trials)
        for trial in trials:
            self._proposer.remember(trial)
            self._fresh.saw(trial.user_attrs["arch digest"])
        sessions = store.sessions(self.study.name)
        self._spent_s = sum(session.duration_s for session in sessions if session.ended_at)
        self._started = time.monotonic()
        self._gpu_s = 0.0
        left = [trial for trial in trials if not trial.state.is_finished()]
        self.observer.began(self._count - len(left))
        self._queue = deque(trial for trial in left if not self._tell_or_put_back(trial.number))
        # Over all runs, and so with what was told just now.
        records = store.trials(self.study.name)
        self._gpu_s = sum(gpu_seconds(r.evaluation) for r in records if not _reused(r))

    @property
    def proposals(self) -> int:
        """How often the sampler was asked, in this run."""
        return self._fresh.num_drawn

    @property
    def redrawn(self) -> int:
        """How many of its proposals broke a hard constraint."""
        return self._fresh.num_infeasible

    @property
    def stop_reason(self) -> str | None:
        """Why no more candidates are proposed: trials, hours, gpu_hours, exhausted; or None."""
        budget = self.study.budget
        hours = (self._spent_s + time.monotonic() - self._started) / 3600
        if budget.hours is not None and hours >= budget.hours:
            return "hours"
        if budget.gpu_hours is not None and self._gpu_s / 3600 >= budget.gpu_hours:
            return "gpu_hours"
        if self._queue:
            return None
        if budget.trials is not None and self._count >= budget.trials:
            return "trials"
        return "exhausted" if self._exhausted else None

    def ask(self) -> Candidate | None:
        """The next candidate to evaluate, or None when there is none (see `stop_reason`).

        First what an earlier run left unfinished, then references, then the sampler's proposals.
        A candidate whose evaluation is known already is told at once and not returned.
        """
        while self.stop_reason is None:
            candidate = self._adopt(self._queue.popleft()) if self._queue else self._new()
            if candidate is not None:
                self.running[candidate.number] = candidate
                self.observer.started(candidate)
                return candidate
        return None

    def settle(self, number: int) -> str | None:
        """Tells the study what the store holds of a candidate; nothing there: its node is lost.

        Returns the reason of a failure.
        """
        evaluation = evaluation_of(self.store, self.study.name, number, self.protocol.seed)
        self._tell(number, evaluation, reused=False)
        return evaluation.reason

    def release(self) -> None:
        """Puts what is running back into the queue for a later run (after an interruption)."""
        for number in list(self.running):
            self._tell_or_put_back(number)
            self.running.pop(number, None)

    def _tell_or_put_back(self, number: int) -> bool:
        """Whether a candidate that nobody evaluates any more had a result; else it is to wait."""
        record = self.store.trial(self.study.name, number)
        if record is not None and record.evaluation is not None:
            self._tell(number, record.evaluation, _reused(record))
            return True
        self._storage.set_trial_state_values(self._trial_id(number), TrialState.WAITING)
        if record is not None:  # else the search ended before it leased the trial
            self.store.mark(self.study.name, number, "waiting")
        return False

    def _new(self) -> Candidate | None:
        proposal = self._fresh.next()
        if proposal is None:
            self._exhausted = True
            return None
        costs, architecture = proposal.costs, proposal.architecture
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(proposal.genome),
            distributions=dict(self._proposer.distributions),
            user_attrs=architecture_attributes(architecture, costs),
            # The older list of constraints is what the dashboard reads, and Optuna 5 reads it too.
            system_attrs={**proposal.notes, "constraints": self._feasibility.slacks(costs)},
        )
        self.store.put_architecture(proposal.digest, architecture.to_json())
        trial_id = self._storage.create_new_trial(self._optuna._study_id, template)
        number = self._storage.get_trial_number_from_id(trial_id)
        self._proposer.link(proposal.mirror, number)
        self._count += 1
        return self._lease(number, architecture, costs)

    def _adopt(self, trial: FrozenTrial) -> Candidate | None:
        """A trial that an earlier run left, leased again; None when its result came after all."""
        record = self.store.trial(self.study.name, trial.number)
        if record is not None and record.evaluation is not None:
            self._tell(trial.number, record.evaluation, _reused(record))
            return None
        self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        architecture = self.space.decode(trial.params)
        self.store.put_architecture(architecture.digest, architecture.to_json())
        return self._lease(trial.number, architecture, self._feasibility.cost_of(trial.params))

    def _lease(
        self, number: int, architecture: Subject, costs: Mapping[str, float]
    ) -> Candidate | None:
        """A candidate under a new lease, or None when its evaluation is known and was told."""
        digest, protocol = architecture.digest, self.protocol.digest
        own = {name: costs[name] for name in OF_THE_STUDY if name in costs}
        known = self.store.finished(digest, protocol)
        if known is not None:
            assert known.id is not None, "what the store gives has an id"
            self.store.reuse(self.study.name, number, digest, protocol, known.id, own)
            self._tell(number, known, reused=True)
            return None
        token = self.store.lease(self.study.name, number, digest, protocol, own)
        return Candidate(number, token, architecture, digest, costs, self.protocol)

    def _tell(self, number: int, evaluation: Evaluation, reused: bool) -> None:
        trial_id = self._trial_id(number)
        trial = self._storage.get_trial(trial_id)
        candidate = self.running.pop(number, None)
        attributes = trial.user_attrs
        costs = {name: float(attributes[name]) for name in CLOSED_FORM if name in attributes}
        values = self._values(evaluation, costs)
        if not trial.state.is_finished():
            ended = result_attributes(evaluation, self.study.objectives, reused)
            patiently(lambda: self._finish(trial_id, ended, values))
            self._proposer.tell(number, values)
        if not reused:
            self._gpu_s += gpu_seconds(evaluation)
        short = candidate.architecture.short if candidate else trial.user_attrs["arch"]
        self.observer.finished(
            Finished(
                number,
                short,
                costs,
                evaluation.metrics,
                evaluation.timing.get("total_s") or 0.0,
                evaluation.reason,
                evaluation.message,
                reused,
            )
        )

    def _finish(
        self, trial_id: int, attributes: Mapping[str, Any], values: list[float] | None
    ) -> None:
        if self._storage.get_trial(trial_id).state.is_finished():
            return  # an earlier try got through, though its answer did not
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(trial_id, name, value)
        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        self._storage.set_trial_state_values(trial_id, state, values)

    def _values(self, evaluation: Evaluation, costs: Mapping[str, float]) -> list[float] | None:
        if evaluation.status == "failed":
            return None
        values = [
            costs[name] if name in CLOSED_FORM else evaluation.metrics.get(name)
            for name in self.study.objectives
        ]
        return None if any(value is None for value in values) else values  # type: ignore[return-value]

    def _trial_id(self, number: int) -> int:
        study_id = self._optuna._study_id
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)


def _reused(record: TrialRecord) -> bool:
    """Whether a trial's evaluation was known before, so that this study did not pay for it."""
    return record.attempt == 0
