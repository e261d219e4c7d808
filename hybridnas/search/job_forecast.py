"""How long given trainings will take, by those of their kind that the database has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple, TypeAlias

from ..config import Fidelity, Study
from ..errors import NoDatabaseError
from ..store import Store, Training
from .cluster import LOCAL, address_of, check_reachable
from .forecast import Past, devices_of, hours_of, seconds_at
from .machine import device_here, share_of, this_machine
from .trainings import Job, over, scored

SecondsOf: TypeAlias = Callable[[Sequence[Training], Sequence[Job]], float | None]
"""Of one of these jobs, by trainings of their kind; None: nobody can tell."""


class Timed(NamedTuple):
    """What the database has of a fidelity."""

    fidelity: Fidelity
    trainings: Sequence[Training]


@dataclass(frozen=True)
class JobKind:
    """Jobs under protocols that differ in the seed alone. left: that are not known, as a failure
    is, too. seconds: that one of them takes, by trainings on `devices`; None: nobody can tell, or
    none is left. scaled: None: those were of this fidelity; else of which, with as many times more
    or fewer steps."""

    fidelity: Fidelity
    trainings: int
    left: int
    seconds: float | None
    devices: tuple[str, ...]
    scaled: Fidelity | None = None


@dataclass(frozen=True)
class JobForecast:
    """kinds: in the order of the jobs. at_once: trainings; None: nobody has looked at the cluster,
    or nothing is left. seconds_to_begin: until the first one begins."""

    kinds: tuple[JobKind, ...]
    at_once: int | None
    seconds_to_begin: float | None

    @property
    def trainings(self) -> int:
        return sum(kind.trainings for kind in self.kinds)

    @property
    def known(self) -> int:
        return self.trainings - sum(kind.left for kind in self.kinds)

    @property
    def hours(self) -> float | None:
        """Until all have ended; None: nobody can tell."""
        left = [(kind.left, kind.seconds) for kind in self.kinds if kind.left]
        told = [(number, each) for number, each in left if each is not None]
        if not left:
            return 0.0
        if self.at_once is None or len(told) < len(left):
            return None
        return hours_of(told, self.at_once, self.seconds_to_begin)

    def as_json(self) -> dict[str, Any]:
        return {
            "trainings": self.trainings,
            "known": self.known,
            "seconds_to_begin": self.seconds_to_begin,
            "at_once": self.at_once,
            "hours": self.hours,
        }


def forecast_jobs(
    study: Study,
    jobs: Sequence[Job],
    storage: str,
    ray_address: str | None,
    seconds_of: SecondsOf | None = None,
    check: Callable[[Store], None] | None = None,
) -> JobForecast:
    """Of jobs that belong to a study. storage: of a database that need not be there. seconds_of:
    None: by the MACs of those that are left (`seconds_at`). check: of what the database has.

    What is all known needs no machine. Otherwise HybridnasError where nothing could be trained.
    """
    try:
        with Store.open(storage, create=False) as store:
            if check is not None:
                check(store)
            return _forecast(study, jobs, store, ray_address, seconds_of or _by_macs)
    except NoDatabaseError:  # there will be one
        return _forecast(study, jobs, None, ray_address, _by_macs)


def _forecast(
    study: Study,
    jobs: Sequence[Job],
    store: Store | None,
    ray_address: str | None,
    seconds_of: SecondsOf,
) -> JobForecast:
    found = over(store.trials(study.name)) if store else set()
    found |= {j.key for j in jobs if store and scored(store, j.key, study.measured) is not None}
    share = None
    if any(job.key not in found for job in jobs):
        check_reachable(ray_address)
        if address_of(ray_address) == LOCAL:  # of a cluster nothing is known
            share = share_of(study, [this_machine()])
    past, device = Past(store) if store else None, device_here(share) if share else None
    alike: dict[str, list[Job]] = {}
    for job in jobs:
        alike.setdefault(job.protocol.seedless().digest, []).append(job)
    timed = [
        Timed(group[0].protocol.fidelity, past.under(group[0].protocol, device) if past else [])
        for group in alike.values()
    ]
    kinds = [
        _kind(group, [job for job in group if job.key not in found], own, timed, seconds_of)
        for group, own in zip(alike.values(), timed, strict=True)
    ]
    begin = past.seconds_to_begin() if past else None
    return JobForecast(tuple(kinds), share.concurrent if share else None, begin)


def _kind(
    jobs: Sequence[Job],
    left: Sequence[Job],
    own: Timed,
    timed: Sequence[Timed],
    seconds_of: SecondsOf,
) -> JobKind:
    """By trainings of the fidelity, else by others at its resolution, where an image takes as
    long: those of the most similar length. timed: of all kinds."""
    by = own
    if not own.trainings:
        work = own.fidelity.work
        near = [
            other
            for other in timed
            if other.trainings and other.fidelity.resolution == own.fidelity.resolution
        ]
        by = min(near, key=lambda other: abs(math.log(other.fidelity.work / work)), default=own)
    seconds = seconds_of(by.trainings, left)
    return JobKind(
        own.fidelity,
        len(jobs),
        len(left),
        None if seconds is None else seconds * own.fidelity.work / by.fidelity.work,
        devices_of(by.trainings),
        None if by is own else by.fidelity,
    )


def _by_macs(timed: Sequence[Training], jobs: Sequence[Job]) -> float | None:
    return fmean(seconds_at(timed, job.costs["macs"]) for job in jobs) if timed and jobs else None
