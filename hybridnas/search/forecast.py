"""How long trainings will take, by those of their kind that the database has."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from statistics import fmean, linear_regression, median

from ..config import Fidelity, Protocol, Study
from ..errors import ConfigError
from ..store import Place, Store, Training
from .ladder import candidates
from .plan import Plan, feasibility, fitting_references, run_protocol
from .studies import parse_protocol
from .words import time_words

_LISTED = 10_000  # combinations of choices that are gone through, which takes about half a second


class Past:
    """What a database knows of trainings. It is asked for what is needed: it has thousands."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._digests: dict[str, list[str]] = {}  # of protocols, by kind
        for digest, text in store.protocols().items():
            with suppress(ConfigError):  # what this version does not know, it does not train
                kind = _kind(parse_protocol(digest, text))
                self._digests.setdefault(kind, []).append(digest)

    def under(self, protocol: Protocol, device: str | None = None) -> list[Training]:
        """Trainings that ended well under a protocol, whatever their seed, each once: those on a
        device where there are any, so that a CPU's seconds are never taken for a GPU's."""
        found = self._store.trained(self._digests.get(_kind(protocol), []))
        return [each for each in found if device and each.device == device] or found

    def scored(self, protocol: Protocol) -> set[str]:
        """Digests of the architectures that a search under the protocol looks up."""
        return self._store.scored(protocol.digest)

    def ended(self, study: str) -> Counter[tuple[str, int, bool]]:
        """Trainings of a study, by task, rung, and whether they are of its final retraining."""
        return Counter({(e.task, e.rung, e.retraining): e.number for e in self._store.ended(study)})

    def hours(self, study: str) -> float:
        """Of wall-clock that a study's searches took."""
        return sum(session.duration_s for session in self._store.sessions(study)) / 3600

    def gpu_hours(self, study: str) -> float:
        """Of GPU time that a study's trainings took."""
        return self._store.gpu_seconds(study) / 3600

    def seconds_to_begin(self) -> float | None:
        """How long it takes until the first training begins, Ray's start and that of its workers:
        the median over the sessions that trained something; None without any."""
        found = self._store.waits()
        return median(found) if found else None


def _kind(protocol: Protocol) -> str:
    return protocol.seedless().digest


def devices_of(trainings: Iterable[Training]) -> tuple[str, ...]:
    """Their names."""
    return tuple(sorted({training.device or "an unknown device" for training in trainings}))


def mean_seconds(trainings: Sequence[Training]) -> float | None:
    """What one takes on average; None without any."""
    return fmean(training.seconds for training in trainings) if trainings else None


def seconds_at(trainings: Sequence[Training], macs: float) -> float:
    """What a training of a network of these MACs would take, by a line through those of others."""
    known = [training.macs or 0.0 for training in trainings]
    return _on_a_line(known, [training.seconds for training in trainings], macs)


def _on_a_line(macs: Sequence[float], seconds: Sequence[float], wanted: float) -> float:
    """Seconds at the wanted MACs by least squares; larger networks are never quicker, and none is
    quicker than the quickest of these."""
    if len(set(macs)) < 3:
        return median(seconds)
    slope = max(linear_regression(macs, seconds).slope, 0.0)
    return max(fmean(seconds) + slope * (wanted - fmean(macs)), min(seconds))


@dataclass(frozen=True)
class Step:
    """The trainings of a task at a rung. number: that are to come; None: nobody can tell. known:
    of their kind, in the database, on `devices`. seconds: that those took on average; None without
    any. known_now: what besides is only looked up, where the space is small enough to tell.
    may_be_fewer: what is proposed may be in the database too."""

    task: str
    fidelity: Fidelity
    number: int | None
    known: int
    devices: tuple[str, ...]
    seconds: float | None
    known_now: int = 0
    may_be_fewer: bool = False


@dataclass(frozen=True)
class Forecast:
    """at_once: trainings; None: nobody has looked at the cluster. seconds_to_begin: until the
    first one begins. hours_left, gpu_hours_left: of the study's budget of them."""

    steps: tuple[Step, ...]
    at_once: int | None
    seconds_to_begin: float | None
    hours_left: float | None
    gpu_hours_left: float | None = None

    @property
    def hours(self) -> float | None:
        """Until all have ended, whatever the budgets of hours are; None: nobody can tell."""
        left = [(step.number, step.seconds) for step in self.steps if step.number != 0]
        known = [(n, each) for n, each in left if n is not None and each is not None]
        if self.at_once is None or len(known) < len(left):
            return None
        return hours_of(known, self.at_once, self.seconds_to_begin)


def forecast(
    plan: Plan, at_once: int | None, past: Past | None, device: str | None = None
) -> Forecast:
    """Of a search that is to begin or to go on. past: of all studies of the database; None: there
    is none yet. device: that trains; trainings of others are looked at only where it has none."""
    listed = _listed(plan)
    size = None if listed is None else len(listed)
    numbers = candidates(plan.study, size, len(fitting_references(plan)))
    ended = past.ended(plan.study.name) if past else Counter[tuple[str, int, bool]]()
    steps = tuple(
        _step(plan, Place(rung, 0, task), whole, past, device, listed, ended)
        for task in plan.tasks
        for rung, whole in enumerate(numbers)
    )
    begin = past.seconds_to_begin() if past else None
    budget, name = plan.study.budget, plan.study.name
    hours = _left(budget.hours, past.hours(name) if past else 0.0)
    gpu_hours = _left(budget.gpu_hours, past.gpu_hours(name) if past else 0.0)
    return Forecast(steps, at_once, begin, hours, gpu_hours)


def attainable(plan: Plan) -> Study:
    """The study with no more trials in its budget than it has architectures to try, as far as
    their number is known."""
    study, listed = plan.study, _listed(plan)
    if study.budget.trials is None or listed is None or len(listed) >= study.budget.trials:
        return study
    budget = study.budget.model_copy(update={"trials": len(listed)})
    return study.model_copy(update={"budget": budget})


def few_trials(study: Study) -> int:
    """With how many trials each rung sees a candidate, two at least."""

    def seen(trials: int) -> list[int | None]:
        budget = study.budget.model_copy(update={"trials": trials})
        return candidates(study.model_copy(update={"budget": budget}))

    return next(number for number in itertools.count(2) if all(seen(number)))


def _listed(plan: Plan) -> Set[str] | None:
    """Digests of all architectures that keep the constraints; None: too many to go through."""
    space, hard = plan.space, feasibility(plan)
    if math.prod(map(len, space.genes.values())) > _LISTED:
        return None
    genomes = space.all_genomes()
    fitting = (g for g in genomes if not hard.bounds or not hard.violation(hard.cost_of(g)))
    return {space.decode(genome).digest for genome in fitting}


def _step(
    plan: Plan,
    place: Place,
    candidates: int | None,
    past: Past | None,
    device: str | None,
    listed: Set[str] | None,
    ended: Counter[tuple[str, int, bool]],
) -> Step:
    study, fidelity = plan.study, plan.study.tasks[place.task].fidelities[place.rung]
    protocol = run_protocol(plan, place)
    scored = past.scored(protocol) if past else set()
    number, known_now, sure = candidates, 0, False
    if candidates is not None:
        number = max(0, candidates - ended[place.task, place.rung, False])
        if listed is not None:
            known_now = max(0, number - len(listed - scored))
            sure = candidates == len(listed)
        number -= known_now
        if study.final is not None and place.rung == len(study.rates):
            again = min(study.final.retrain, candidates) * study.final.seeds
            number += max(0, again - ended[place.task, place.rung, True])
    known = past.under(protocol, device) if past else []
    fewer = bool(scored) and not sure and number != 0
    return Step(
        place.task,
        fidelity,
        number,
        len(known),
        devices_of(known),
        mean_seconds(known),
        known_now,
        may_be_fewer=fewer,
    )


def _left(whole: float | None, spent: float) -> float | None:
    return None if whole is None else max(0.0, whole - spent)


def hours_of(
    trainings: Sequence[tuple[int, float]], at_once: int, seconds_to_begin: float | None
) -> float:
    """Of so many trainings of so many seconds each."""
    seconds = sum(math.ceil(number / at_once) * each for number, each in trainings)
    return ((seconds_to_begin or 0.0) + seconds) / 3600


def course_words(hours: float, at_once: int, seconds_to_begin: float | None) -> str:
    """`2 min with 2 at once, 20 s of it before the first begins`"""
    words = f"{time_words(hours)} with {at_once} at once"
    if seconds_to_begin is None:
        return f"{words}, Ray's start left aside"
    return f"{words}, {time_words(seconds_to_begin / 3600)} of it before the first begins"
