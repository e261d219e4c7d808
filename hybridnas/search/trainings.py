"""Trainings that somebody wants, as work for the same engine as a search.

Nothing is proposed: each is of a given architecture under a given protocol, and a trial of its own
in the study that its leases belong to. What is known already, of any study, is taken over.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ..architecture import Architecture
from ..config import Protocol, Study
from ..objectives import OF_THE_STUDY
from ..store import Evaluation, Place, Store, TrialRecord
from .feasibility import Costs
from .leases import evaluation_of
from .observer import Candidate, Finished, Observer, Silent

# Digests of an architecture and of a protocol.
Key: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """A training. digest: of the architecture. costs: known of it in closed form, at the protocol's
    resolution. stage: which one it is, in words, for who watches."""

    architecture: Architecture
    digest: str
    protocol: Protocol
    costs: Costs
    stage: str = ""

    @property
    def key(self) -> Key:
        return self.digest, self.protocol.digest


class Trainings:
    """Jobs as `SearchCore` has the candidates of a search: `ask`, `settle`, `lost`, `release`."""

    proposals = redrawn = 0  # nobody proposes

    def __init__(
        self, study: Study, store: Store, jobs: Sequence[Job], observer: Observer | None = None
    ) -> None:
        """study: has been put. jobs: begun in this order, and numbered in it as far as they are
        new to the study. Those that are over stay so; node_lost is tried again."""
        self.study, self.store, self.name = study, store, study.name
        self.observer: Observer = observer or Silent()
        self.running: dict[int, Candidate] = {}
        for digest, text in {job.protocol.digest: job.protocol.to_json() for job in jobs}.items():
            store.put_protocol(digest, text)
        trials = store.trials(study.name)
        left = [trial.number for trial in trials if trial.leased]
        if left:  # by a run that died: now nobody trains them, until a new lease
            store.mark(study.name, left, "waiting")
        self._numbers = {(t.architecture_digest, t.protocol_digest): t.number for t in trials}
        ended = over(trials)
        self._jobs = {job.key: job for job in jobs}
        taken = set(self._numbers.values())
        free = (number for number in itertools.count() if number not in taken)
        for job in jobs:
            if job.key not in self._numbers:
                self._numbers[job.key] = next(free)
        self._queue = deque(job for job in jobs if job.key not in ended and not self._reuse(job))
        self.observer.began(len(jobs) - len(self._queue))

    @property
    def stop_reason(self) -> str | None:
        """`done` when nothing is left to begin."""
        return None if self._queue else "done"

    def ask(self) -> Candidate | None:
        """The next training, under a lease."""
        if not self._queue:
            return None
        job = self._queue.popleft()
        number = self._numbers[job.key]
        self.store.put_architecture(job.digest, job.architecture.to_json())
        token = self.store.lease(self.name, number, *job.key, place=self._place)
        candidate = Candidate(
            number=number,
            token=token,
            architecture=job.architecture,
            digest=job.digest,
            costs=job.costs,
            protocol=job.protocol,
            recorded={name: v for name, v in job.costs.items() if name not in OF_THE_STUDY},
            stage=job.stage,
        )
        self.running[number] = candidate
        self.observer.started(candidate)
        return candidate

    def settle(self, number: int) -> str | None:
        """Tells the observer how a training ended; the reason of a failure."""
        candidate = self.running.pop(number)
        evaluation = evaluation_of(self.store, self.name, candidate)
        self.observer.finished(
            Finished(
                number,
                candidate.architecture.short,
                candidate.costs,
                evaluation.metrics,
                evaluation.timing.get("total_s") or 0.0,
                evaluation.reason,
                evaluation.message,
                reused=False,
                stage=candidate.stage,
            )
        )
        return evaluation.reason

    def lost(self, number: int) -> None:
        """A training ended without a result: it is put back into the queue, and marked."""
        self.store.mark(self.name, [number], "waiting")
        candidate = self.running.pop(number)
        self._queue.appendleft(self._jobs[candidate.digest, candidate.protocol.digest])

    def release(self) -> None:
        """What was interrupted is for a later run to begin anew."""
        for number in list(self.running):
            self.lost(number)

    @property
    def _place(self) -> Place:
        """Of every run: a trial here has one, which ends it."""
        return Place(len(self.study.fidelities) - 1)

    def _reuse(self, job: Job) -> bool:
        """Whether the job's evaluation is known of another study, and now its trial's."""
        known = scored(self.store, job.key, self.study.measured)
        if known is None:
            return False
        assert known.id is not None, "what is in the database has an id"
        self.store.put_architecture(job.digest, job.architecture.to_json())
        number = self._numbers[job.key]
        self.store.reuse(self.name, number, *job.key, known.id, place=self._place)
        return True


def over(trials: Iterable[TrialRecord]) -> set[Key]:
    """What ended well or badly, and is not begun again: what a lost node took along is."""
    return {
        (t.architecture_digest, t.protocol_digest)
        for t in trials
        if t.evaluation and t.evaluation.reason != "node_lost"
    }


def scored(store: Store, key: Key, metric: str) -> Evaluation | None:
    """The latest evaluation that has such a score; None without one."""
    found = store.finished(*key)
    return found if found is not None and found.figure(metric) is not None else None
