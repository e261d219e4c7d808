"""The search core: owns the study in the database; asks, decides, tells, reconciles.

It knows neither Ray nor training: whoever drives it asks for a candidate, has it evaluated under
the candidate's lease, and settles it.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime

from optuna.trial import FrozenTrial, TrialState, create_trial

from ..architecture import Architecture
from ..config import CLOSED_FORM
from ..errors import SpaceError
from ..reference import REFERENCES, reference
from ..space import Genome
from ..store import Evaluation, Store
from .attributes import (
    architecture_attributes,
    gpu_seconds,
    open_optuna_study,
    result_attributes,
)
from .observer import Candidate, Finished, Observer, Silent
from .plan import Plan, feasibility
from .proposer import Proposer, make_sampler

_QUEUED = (TrialState.RUNNING, TrialState.WAITING)


class SearchCore:
    """One study's life: `ask` until `stop_reason`, `settle` each candidate."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        observer: Observer | None = None,
    ) -> None:
        """Opens or creates the study in the store; raises SpaceError if nothing is feasible."""
        self.study, self.space, self.protocol = plan.study, plan.space, plan.protocol
        self.store = store
        self.observer: Observer = observer or Silent()
        self.proposals = self.redrawn = 0
        self.running: dict[int, Candidate] = {}
        self._exhausted = False
        self._feasibility = feasibility(plan)
        self._feasibility.check()
        store.put_protocol(self.protocol.digest, self.protocol.to_json())
        self._storage = store.optuna_storage()
        self._optuna = open_optuna_study(self._storage, plan.study)
        trials = self._optuna.get_trials(deepcopy=False)
        # A resumed search goes on with other random numbers than it began with.
        seed = self.study.seed + 1_000_003 * len(trials)
        self._rng = random.Random(seed)
        directions = list(self.study.objectives.values())
        sampler = make_sampler(self.study.sampler, seed)
        self._proposer = Proposer(self.space.genes, directions, sampler)
        self._seen: set[str] = set()
        self._queue: deque[FrozenTrial] = deque()
        self._count = len(trials)
        for trial in trials:
            self._proposer.remember(trial)
            self._seen.add(trial.user_attrs["digest"])
            if trial.state in _QUEUED:
                self._queue.append(trial)
        self._references = deque(self._fitting_references())
        sessions = store.sessions(self.study.name)
        self._spent_s = sum(session.duration_s for session in sessions if session.ended_at)
        self._started = time.monotonic()
        self._gpu_s = sum(gpu_seconds(t.evaluation) for t in store.trials(self.study.name))

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
        record = self.store.trial(self.study.name, number)
        assert record is not None, "a candidate was leased before it was given out"
        evaluation = record.evaluation
        if evaluation is None:
            now = datetime.now(UTC)
            evaluation = Evaluation(
                architecture_digest=record.architecture_digest,
                protocol_digest=record.protocol_digest,
                status="failed",
                reason="node_lost",
                message="the process that evaluated it ended without a result",
                seed=self.protocol.seed,
                started_at=record.created_at,
                ended_at=now,
            )
            self.store.record(record.token, evaluation)
        self._tell(number, evaluation, reused=False)
        return evaluation.reason

    def release(self) -> None:
        """Puts what is running back into the queue for a later run (after an interruption)."""
        for number in list(self.running):
            record = self.store.trial(self.study.name, number)
            if record is not None and record.evaluation is not None:
                self._tell(number, record.evaluation, reused=False)
                continue
            self._storage.set_trial_state_values(self._trial_id(number), TrialState.WAITING)
            self.store.mark(self.study.name, number, "waiting")
            del self.running[number]

    def _fitting_references(self) -> list[Genome]:
        names = self.study.references
        fitting = []
        for name in REFERENCES if names is None else names:
            architecture = reference(name)
            if not self.space.contains(architecture):
                if names is not None:
                    raise SpaceError(f"reference {name!r} is not in the space {self.space.name!r}")
                continue
            genome = self.space.encode(architecture)
            feasible = self._feasibility.violation(self._feasibility.cost_of(genome)) == 0
            if feasible and architecture.digest not in self._seen:
                fitting.append(genome)
        return fitting

    def _new(self) -> Candidate | None:
        if self._references:
            genome = self._references.popleft()
            mirror = self._proposer.enqueue(genome)
        else:
            mirror, drawn = self._proposer.propose()
            self.proposals += 1
            fresh = self._fresh(drawn)
            if fresh is None:
                self._proposer.forget(mirror)
                self._exhausted = True
                return None
            genome = fresh
        notes = self._proposer.settle(mirror, genome)
        architecture = self.space.decode(genome)
        costs = self._feasibility.cost_of(genome)
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(genome),
            distributions=dict(self._proposer.distributions),
            user_attrs=architecture_attributes(architecture, costs),
            # The older list of constraints is what the dashboard reads, and Optuna 5 reads it too.
            system_attrs={**notes, "constraints": self._feasibility.slacks(costs)},
        )
        self.store.put_architecture(architecture.digest, architecture.to_json())
        trial_id = self._storage.create_new_trial(self._optuna._study_id, template)
        number = self._storage.get_trial_number_from_id(trial_id)
        self._proposer.link(mirror, number)
        self._seen.add(architecture.digest)
        self._count += 1
        return self._lease(number, architecture, costs)

    def _fresh(self, genome: Genome) -> Genome | None:
        """The proposal, repaired if it is infeasible and moved on if it was seen."""
        if self._feasibility.violation(self._feasibility.cost_of(genome)) > 0:
            self.redrawn += 1
        if len(self._seen) >= self.space.size():
            return None
        start = self._feasibility.repair(genome, self._rng) or self._feasibility.draw(self._rng)
        for attempt in range(1000):
            if start is None:
                return None
            if self.space.decode(start).digest not in self._seen:
                return start
            # Ever wider steps around the proposal, so a crowded corner is left in the end.
            names = self._rng.sample(
                sorted(self.space.genes), min(1 + attempt // 50, len(self.space.genes))
            )
            moved = {n: self._rng.choice(self.space.genes[n]) for n in names}
            start = self._feasibility.repair({**start, **moved}, self._rng) or start
        return None

    def _adopt(self, trial: FrozenTrial) -> Candidate | None:
        """A trial that an earlier run left: told if its result is there, else leased again."""
        record = self.store.trial(self.study.name, trial.number)
        if record is not None and record.evaluation is not None:
            self._tell(trial.number, record.evaluation, reused=False)
            return None
        if trial.state == TrialState.WAITING:
            self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        architecture = self.space.decode(trial.params)
        self.store.put_architecture(architecture.digest, architecture.to_json())
        return self._lease(trial.number, architecture, self._feasibility.cost_of(trial.params))

    def _lease(
        self, number: int, architecture: Architecture, costs: Mapping[str, float]
    ) -> Candidate | None:
        """A candidate under a new lease, or None when its evaluation is known and was told."""
        digest, protocol = architecture.digest, self.protocol.digest
        known = self.store.finished(digest, protocol)
        if known is not None:
            assert known.id is not None, "what the store gives has an id"
            self.store.reuse(self.study.name, number, digest, protocol, known.id)
            self._tell(number, known, reused=True)
            return None
        token = self.store.lease(self.study.name, number, digest, protocol)
        return Candidate(number, token, architecture, digest, costs)

    def _tell(self, number: int, evaluation: Evaluation, reused: bool) -> None:
        trial_id = self._trial_id(number)
        trial = self._storage.get_trial(trial_id)
        candidate = self.running.pop(number, None)
        costs = {name: float(trial.user_attrs[name]) for name in CLOSED_FORM}
        values = self._values(evaluation, costs)
        if not trial.state.is_finished():
            for name, value in result_attributes(evaluation, reused).items():
                self._storage.set_trial_user_attr(trial_id, name, value)
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
            self._storage.set_trial_state_values(trial_id, state, values)
            self._proposer.tell(number, values)
        if not reused:
            self._gpu_s += gpu_seconds(evaluation)
        short = candidate.architecture.short if candidate else trial.user_attrs["stages"]
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
