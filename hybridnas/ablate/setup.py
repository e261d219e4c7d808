"""What an ablation trains: an architecture and its twins, each with the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..architecture import Architecture
from ..config import LONGEST_NAME, TWINS, Fidelity, Study
from ..errors import ConfigError
from ..objectives import BEST
from ..search.forecast import mean_seconds, seconds_at
from ..search.plan import Plan, counted_costs, make_plan, rung_protocol
from ..search.trainings import Job
from ..store import Store, Training
from ..tasks import TASKS
from ..train import FRESH
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


def seconds_each(setup: Setup, timed: Sequence[Training], _: Sequence[Job] = ()) -> float | None:
    """How long one of its jobs takes, by trainings under its protocol: the mean of the original's
    own, else what others say of its MACs (`seconds_at`); None without any."""
    own = [each for each in timed if each.architecture_digest == setup.original.digest]
    if own or not timed:
        return mean_seconds(own)
    resolution = setup.plan.study.fidelity.resolution
    return seconds_at(timed, counted_costs(setup.plan, setup.original, resolution)["macs"])


def _role(twin: Twin | None) -> str:
    if twin is None:
        return "original"
    return f"without {' and '.join(f'{p.mixer} in stage {p.stage}' for p in twin.places)}"
