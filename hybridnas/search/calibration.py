"""How well a cheap training ranks architectures as a dear one does: what to train, and the answer.

A calibration is work for the same engine as a search: each training is an evaluation under its
own protocol, which a later search looks up, as a calibration does with what is known already. Its
leases belong to a study of their own, `NAME.calibration`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from ..architecture import Architecture
from ..config import LONGEST_NAME, Fidelity, Protocol, Study
from ..errors import ConfigError
from ..objectives import OF_THE_STUDY
from ..rank_correlation import FEWEST
from ..store import Evaluation, Place, Store
from .agreement import Judged, agreement
from .feasibility import Costs
from .leases import evaluation_of
from .observer import Candidate, Finished, Observer, Silent
from .plan import Plan, counted_costs, feasibility, rung_protocol
from .strata import stratified

SUFFIX = ".calibration"


@dataclass(frozen=True, slots=True)
class Setting:
    """archs architectures, each trained with so many seeds at both fidelities."""

    archs: int
    seeds: int
    proxy: Fidelity
    judge: Fidelity

    def as_json(self, metric: str) -> dict[str, object]:
        rungs = {"proxy": self.proxy.model_dump(), "judge": self.judge.model_dump()}
        return {"archs": self.archs, "seeds": self.seeds, "metric": metric, **rungs}


def calibration_study(study: Study, setting: Setting) -> Study:
    """The study that the leases of a study's calibration belong to.

    Its ladder is the study's, so that limits hold where the study counts costs; a judge that is no
    rung comes on top. Raises ConfigError for a name that leaves no room for the suffix.
    """
    name, rungs = study.name.removesuffix(SUFFIX), study.fidelities
    if len(name + SUFFIX) > LONGEST_NAME:
        raise ConfigError(
            f"a calibration is kept under its study's name and {SUFFIX!r}, so the name may have "
            f"{LONGEST_NAME - len(SUFFIX)} characters; {name!r} has {len(name)} (--set name=...)"
        )
    return Study.model_validate(
        {
            **study.model_dump(),
            "name": name + SUFFIX,
            "description": f"calibration of {name}",
            "fidelities": rungs if setting.judge in rungs else (*rungs, setting.judge),
            "budget": {"trials": 2 * setting.archs * setting.seeds},
            "references": (),
        }
    )


@dataclass(frozen=True, slots=True)
class _Job:
    architecture: Architecture
    digest: str
    protocol: Protocol
    costs: Costs


class CalibrationWork:
    """The trainings of a calibration, as `SearchCore` has those of a search."""

    proposals = redrawn = 0  # nobody proposes

    def __init__(
        self, plan: Plan, store: Store, setting: Setting, observer: Observer | None = None
    ) -> None:
        """plan: of the calibration's study (`calibration_study`)."""
        self.study, self.store, self.setting = plan.study, store, setting
        self.name = plan.study.name
        self.observer: Observer = observer or Silent()
        self.running: dict[int, Candidate] = {}
        self._jobs: dict[int, _Job] = {}  # by what was given out
        hard = feasibility(plan)
        genomes = stratified(hard, setting.archs, plan.study.seed)
        self.members = [(plan.space.decode(genome), hard.cost_of(genome)) for genome in genomes]
        seeds = [plan.study.seed + i for i in range(setting.seeds)]
        self.proxies, self.judges = (
            [rung_protocol(plan, fidelity, seed) for seed in seeds]
            for fidelity in (setting.proxy, setting.judge)
        )
        for protocol in (*self.proxies, *self.judges):
            store.put_protocol(protocol.digest, protocol.to_json())
        trials = store.trials(plan.study.name)
        self._numbers = {(t.architecture_digest, t.protocol_digest): t.number for t in trials}
        self._broken = {
            (t.architecture_digest, t.protocol_digest)
            for t in trials
            if t.evaluation and t.evaluation.reason not in (None, "node_lost")
        }
        jobs = [
            _Job(architecture, architecture.digest, protocol, {**costs, **counted})
            # The dearest first, so that the last ones end at about the same time.
            for architecture, costs in reversed(self.members)
            for protocols in (self.judges, self.proxies)
            # Of an evaluation's own resolution, which a later search at that fidelity reads.
            for counted in [counted_costs(plan, architecture, protocols[0].fidelity.resolution)]
            for protocol in protocols
        ]
        self._queue = deque(job for job in jobs if not self._is_known(job))
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
        key = (job.digest, job.protocol.digest)
        number = self._numbers.setdefault(key, max(self._numbers.values(), default=-1) + 1)
        self.store.put_architecture(job.digest, job.architecture.to_json())
        top = len(self.study.fidelities) - 1  # a trial here has one run, which ends it
        token = self.store.lease(self.study.name, number, *key, place=Place(top))
        recorded = {name: v for name, v in job.costs.items() if name not in OF_THE_STUDY}
        candidate = Candidate(
            number, token, job.architecture, job.digest, job.costs, job.protocol, recorded
        )
        self.running[number], self._jobs[number] = candidate, job
        self.observer.started(candidate)
        return candidate

    def settle(self, number: int) -> str | None:
        """Tells the observer how a training ended; the reason of a failure."""
        candidate = self.running.pop(number)
        evaluation = evaluation_of(self.store, self.study.name, candidate)
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
            )
        )
        return evaluation.reason

    def lost(self, number: int) -> None:
        """A training ended without a result: it is put back into the queue, and marked."""
        self.store.mark(self.study.name, [number], "waiting")
        del self.running[number]
        self._queue.appendleft(self._jobs[number])

    def release(self) -> None:
        """What was interrupted is for a later run to begin anew."""
        for number in list(self.running):
            self.lost(number)

    def result(self) -> dict[str, Any]:
        """What `agreement` finds, and how many architectures failed.

        Raises ConfigError where too few architectures have scores on both sides.
        """
        found = []
        for architecture, costs in self.members:
            proxy = self._evaluations(architecture, self.proxies)
            judge = self._evaluations(architecture, self.judges)
            if proxy is not None and judge is not None:
                found.append(Judged(architecture, costs, proxy, judge))
        failed = len(self.members) - len(found)
        if len(found) < FEWEST:
            raise ConfigError(
                f"{failed} of {len(self.members)} architectures failed to train at one of the "
                f"fidelities: too few are left for a rank correlation"
            )
        return {"failed": failed, **agreement(found, self.study.measured)}

    def _is_known(self, job: _Job) -> bool:
        key = (job.digest, job.protocol.digest)
        return key in self._broken or self.store.finished(*key) is not None

    def _evaluations(
        self, architecture: Architecture, protocols: list[Protocol]
    ) -> list[Evaluation] | None:
        """An architecture's, one a seed; None where one has no score."""
        found = [self.store.finished(architecture.digest, p.digest) for p in protocols]
        good = [e for e in found if e and e.metrics.get(self.study.measured) is not None]
        return good if len(good) == len(protocols) else None
