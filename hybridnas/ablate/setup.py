"""What an ablation trains: an architecture and its twins, each with the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression, median

import torch

from ..architecture import Architecture
from ..config import LONGEST_NAME, TWINS, Fidelity, Study
from ..errors import ConfigError
from ..objectives import BEST
from ..search.plan import Plan, counted_costs, make_plan, rung_protocol
from ..search.trainings import Job
from ..store import Store
from ..tasks import TASKS
from ..train import FRESH
from .results import protocol_of
from .twins import Twin


@dataclass(frozen=True)
class Setup:
    """plan: of the study that the trainings belong to (`ablation_study`)."""

    plan: Plan
    original: Architecture
    twins: tuple[Twin, ...]
    seeds: tuple[int, ...]

    @property
    def jobs(self) -> list[Job]:
        """Seed by seed, so that what is known early is known of all; the original first."""
        plan, fidelity = self.plan, self.plan.study.fidelity
        networks = [self.original, *(twin.architecture for twin in self.twins)]
        costs = [counted_costs(plan, network, fidelity.resolution) for network in networks]
        return [
            Job(
                network,
                network.digest,
                rung_protocol(plan, fidelity, seed),
                cost,
                f"{_role(twin)}, seed {number} of {len(self.seeds)}",
            )
            for number, seed in enumerate(self.seeds, 1)
            for network, twin, cost in zip(networks, [None, *self.twins], costs, strict=True)
        ]


def ablation_study(study: Study, label: str, fidelity: Fidelity, trainings: int) -> Study:
    """The study that the trainings of an ablation belong to: of `study` all that a protocol says.

    label: stands for the architecture. trainings: how many there are. The limits of `study` are
    left out, since nothing is proposed. Raises ConfigError for a name that leaves no room, and for
    a study whose trainings start from a file of weights, which fits one architecture only.
    """
    name = f"{study.name}{TWINS}{label}"
    if len(name) > LONGEST_NAME:
        raise ConfigError(
            f"an ablation is kept under its study's name and {TWINS + label!r}, together at most "
            f"{LONGEST_NAME} characters; {name!r} has {len(name)} (--set name=...)"
        )
    if study.init != FRESH:
        raise ConfigError(
            f"init: trainings of {study.name!r} start from {study.init}, which twins cannot: "
            f"compare them from fresh weights (--set init={FRESH})"
        )
    return Study.model_validate(
        {
            **study.alone("").model_dump(),
            "name": name,
            "description": f"twins of {label}, under the protocol of {study.name}",
            "fidelities": (fidelity,),
            "halving": {},
            "final": None,
            "objectives": {study.measured: BEST[study.measured], "macs": "minimize"},
            "constraints": {},
            "latency": None,
            "sampler": "random",
            "budget": {"trials": trainings},
            "references": (),
        }
    )


def set_up(
    study: Study,
    label: str,
    fidelity: Fidelity,
    original: Architecture,
    twins: Sequence[Twin],
    seeds: int,
) -> Setup:
    """What is trained, as `study` trains, so many times each, once the data were found.

    label: as of `ablation_study`. The seeds follow the study's own, with which the architecture may
    have been found for its luck; they are those of a study's final retraining. Raises ConfigError
    for a network that the task cannot be learned with, and as `make_plan` does.
    """
    own = ablation_study(study, label, fidelity, (1 + len(twins)) * seeds)
    return setup_of(make_plan(own), original, twins, seeds)


def setup_of(plan: Plan, original: Architecture, twins: Sequence[Twin], seeds: int) -> Setup:
    """The same by a plan that was made, of the ablation's own study."""
    task = TASKS[plan.study.task.name]
    with torch.device("meta"):  # without numbers
        for network in (original, *(twin.architecture for twin in twins)):
            task.network(network, plan.num_classes, plan.protocol)
    first = plan.study.seed + 1
    return Setup(plan, original, tuple(twins), tuple(range(first, first + seeds)))


def check_original(setup: Setup, store: Store) -> None:
    """Raises ConfigError where the trainings that the database has by this name are of another
    architecture: of a trial of an earlier study that was called the same, say."""
    name = setup.plan.study.name
    first = store.trial(name, 0)
    if first is not None and first.architecture_digest != setup.original.digest:
        raise ConfigError(
            f"{name!r} in the database is about architecture {first.architecture_digest}, not "
            f"{setup.original.digest}: give this one another name (--set name=...)"
        )


def seconds_each(setup: Setup, store: Store, study: str) -> float | None:
    """How long a training takes, by what the database has under this protocol of the study and the
    ablation: the mean of the original's own, else what others of its MACs would take, by a line
    through theirs; None without any."""
    wanted = setup.plan.protocol.seedless().digest
    trials = [trial for name in (study, setup.plan.study.name) for trial in store.trials(name)]
    runs = [run for trial in trials for run in trial.runs]
    alike = {
        digest
        for digest in {run.protocol_digest for run in runs}
        if protocol_of(store, digest).seedless().digest == wanted
    }
    ended = [e for run in runs if (e := run.evaluation) and e.protocol_digest in alike]
    timed = [(e, taken) for e in ended if not e.reason and (taken := e.timing.get("total_s"))]
    own = [taken for e, taken in timed if e.architecture_digest == setup.original.digest]
    if own or not timed:
        return fmean(own) if own else None
    macs = [e.metrics.get("macs") or 0.0 for e, _ in timed]
    resolution = setup.plan.study.fidelity.resolution
    own_macs = counted_costs(setup.plan, setup.original, resolution)["macs"]
    return _on_a_line(macs, [taken for _, taken in timed], own_macs)


def _on_a_line(macs: Sequence[float], seconds: Sequence[float], wanted: float) -> float:
    """Seconds at the wanted MACs by least squares; larger networks are never quicker, and none is
    quicker than the quickest of these."""
    if len(set(macs)) < 3:
        return median(seconds)
    slope = max(linear_regression(macs, seconds).slope, 0.0)
    return max(fmean(seconds) + slope * (wanted - fmean(macs)), min(seconds))


def seconds_to_begin(setup: Setup, store: Store, study: str) -> float | None:
    """How long it takes until the first training begins, Ray's start and that of its workers: the
    median over the sessions of the study and the ablation that trained something; None without
    any."""
    found = []
    for name in (study, setup.plan.study.name):
        runs = [run for trial in store.trials(name) for run in trial.runs]
        began = [run.evaluation.started_at for run in runs if run.evaluation and not run.reused]
        for session in store.sessions(name):
            own = [at for at in began if session.started_at <= at <= session.last_seen_at]
            if own:
                found.append((min(own) - session.started_at).total_seconds())
    return median(found) if found else None


def _role(twin: Twin | None) -> str:
    if twin is None:
        return "original"
    return f"without {' and '.join(f'{p.mixer} in stage {p.stage}' for p in twin.places)}"
