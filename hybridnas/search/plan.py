"""Everything that can be checked before a search starts, checked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..architecture import Architecture
from ..config import Fidelity, Protocol, Study
from ..cost import cost, input_size
from ..counting import pixels
from ..data import DIGITS
from ..data.readers import full_path
from ..errors import ConfigError, HybridnasError, SpaceError
from ..objectives import named
from ..profiling import LatencyTable, load_table
from ..reference import REFERENCES, reference
from ..space import Genome, SearchSpace
from ..store import Place
from ..tasks import TASKS
from ..train import (
    FRESH,
    check_recipe,
    file_digest,
    fitting_weights,
    network_of,
    read_weights,
)
from ..user_paths import expanded
from .counted import counted_size
from .early import about
from .feasibility import CostOf, Feasibility
from .genome_cost import GenomeCost
from .samplers import make_sampler
from .studies import written_out


@dataclass(frozen=True)
class Plan:
    """A study whose space, data and constraints were found and fit together.

    protocol: of its own task, at the top of the ladder. training_images: of its own task, by the
    share of each class that a fidelity takes. also: a plan for each other task.
    """

    study: Study
    space: SearchSpace
    protocol: Protocol
    training_images: Mapping[float, int]
    latency: LatencyTable | None = None
    also: Mapping[str, Plan] = field(default_factory=dict)

    @property
    def num_classes(self) -> int:
        return len(self.protocol.class_names)

    @property
    def tasks(self) -> dict[str, Plan]:
        """A plan for each task of the study, in the order in which candidates are evaluated."""
        return {"": self, **self.also}

    @property
    def config(self) -> dict[str, Any]:
        """The study as the database keeps it."""
        return written_out(self.study, self.space)


def rung_protocol(plan: Plan, fidelity: Fidelity, seed: int | None = None) -> Protocol:
    """What an evaluation at a rung is made under; seed None: the study's."""
    update = {"fidelity": fidelity, "seed": plan.study.seed if seed is None else seed}
    return plan.protocol.model_copy(update=update)


def run_protocol(plan: Plan, place: Place) -> Protocol:
    """The same for a run of a trial; its repeats have the seeds that follow the study's."""
    task, seed = plan.tasks[place.task], plan.study.seed + place.repeat
    return rung_protocol(task, task.study.fidelities[place.rung], seed)


def make_plan(study: Study) -> Plan:
    """Loads the space, looks at the data, and checks that constraints and references can be met.

    Raises HybridnasError.
    """
    space = SearchSpace.load(study.space)
    own = _plan_task(study.alone(""), space)
    others = {name: _plan_other(study, name, space) for name in study.also}
    found = {
        name: study.also[name].model_copy(update={"task": p.study.task, "init": p.study.init})
        for name, p in others.items()
    }
    whole = own.study.model_copy(update={"also": found, "objectives": study.objectives})
    plan = replace(own, study=whole, also=others)
    hard = feasibility(plan)
    hard.check()
    make_sampler(study.sampler, hard, study.objectives, 0)  # refuses what it cannot search
    fitting_references(plan)
    return plan


def _plan_task(study: Study, space: SearchSpace) -> Plan:
    """Of a study with one task, with its data and weights looked at."""
    task = TASKS[study.task.name]
    check_recipe(study.recipe)
    task.check(study.recipe)
    study = _with_full_paths(study)
    study, latency = _with_latency(study)
    init_digest = "" if study.init == FRESH else file_digest(Path(study.init))
    train, val = task.splits(study.task)
    protocol = study.protocol(task.data_digest(train, val), train.class_names, init_digest)
    images = {f.share: task.training_images(train, f.share) for f in study.fidelities}
    plan = Plan(study, space, protocol, images, latency)
    _check_networks(plan)
    return plan


def _plan_other(study: Study, name: str, space: SearchSpace) -> Plan:
    try:
        return _plan_task(study.alone(name), space)
    except HybridnasError as error:
        raise about(name, error) from None


def _with_full_paths(study: Study) -> Study:
    """Workers have a current folder of their own."""

    def full(path: str) -> str:
        return str(expanded(path).absolute())

    update: dict[str, Any] = {}
    if study.task.name != "classification" or study.task.data != DIGITS:
        update["task"] = study.task.model_copy(update={"data": full_path(study.task.data)})
    if study.init != FRESH:
        update["init"] = full(study.init)
    if study.latency is not None:
        file = full(study.latency.file)
        update["latency"] = study.latency.model_copy(update={"file": file})
    return study.model_copy(update=update)


def _with_latency(study: Study) -> tuple[Study, LatencyTable | None]:
    """The study with its table's sha and setting, and the table.

    Raises ConfigError where the file is not the one that the study began with, or was measured at
    another size of images.
    """
    if study.latency is None:
        return study, None
    if study.task.name != "classification":
        raise ConfigError(
            f"latency: a table times classifiers, the task is {study.task.name}, whose head it "
            f"does not know: leave latency out"
        )
    table, sha = load_table(Path(study.latency.file))
    if study.latency.sha256 not in ("", sha):
        raise ConfigError(
            f"latency: {study.latency.file} is another table (sha256 {sha[:12]}) than the one that "
            f"the study began with ({study.latency.sha256[:12]})"
        )
    wanted = counted_size(study)
    if table.setting.input_size != wanted:
        raise ConfigError(
            f"latency: {study.latency.file} was measured at {pixels(table.setting.input_size)}, "
            f"the study's images have {pixels(wanted)}: make one with `hybridnas latency SPACE "
            f"--input-size {wanted[0]} --out FILE`"
        )
    known = study.latency.model_copy(update={"sha256": sha, "setting": table.setting.words})
    return study.model_copy(update={"latency": known}), table


def _check_networks(plan: Plan) -> None:
    """Whether the task's head, and the weights to start from, fit what the space makes.

    With each of its stems, on networks without numbers. Raises SpaceError and ConfigError.
    """
    task, rng = TASKS[plan.study.task.name], random.Random(0)
    for stem in plan.space.genes.get("stem", (None,)):
        genome = plan.space.random_genome(rng) | ({} if stem is None else {"stem": stem})
        architecture = plan.space.decode(genome)
        try:
            with torch.device("meta"):
                model = task.network(architecture, plan.num_classes, plan.protocol)
        except ConfigError as error:
            raise SpaceError(f"space {plan.space.name!r}: {error}") from None
        if plan.study.init == FRESH:
            continue
        try:
            path = Path(plan.study.init)
            fitting_weights(model, read_weights(path, network_of(model)), str(path))
        except ConfigError as error:
            raise ConfigError(
                f"init: {error}; a search starts from a file only where every architecture of its "
                f"space is that one (`init: {FRESH}`: fresh weights)"
            ) from None


def counted_costs(plan: Plan, architecture: Architecture, resolution: int) -> dict[str, float]:
    """An architecture's macs and params with the head of the study's task, for its classes."""
    task = plan.study.task
    size = input_size(task.name, resolution)
    known = cost(architecture, size, task.name, plan.num_classes, head_width=task.head_width)
    return {"macs": known.macs, "params": known.params}


def feasibility(plan: Plan) -> Feasibility:
    """The study's hard constraints over its space, costs counted at its resolution."""
    size, task = counted_size(plan.study), plan.study.task
    dense = f"with the head of {task.name}, at {pixels(size)}" if len(set(size)) > 1 else ""
    return Feasibility(plan.space, plan.study.bounds(), _cost_of(plan), dense)


def _cost_of(plan: Plan) -> CostOf:
    """The costs of a genome, those with the heads of other tasks as `TASK.macs`."""

    def counted(one: Plan) -> GenomeCost:
        size, task = counted_size(one.study), one.study.task
        classes, width = one.num_classes, task.head_width
        return GenomeCost(one.space, size, task.name, classes, width, one.latency)

    costs = {name: counted(one) for name, one in plan.tasks.items()}

    def of_all(genome: Genome) -> dict[str, float]:
        every = ((task, cost_of(genome)) for task, cost_of in costs.items())
        return {named(task, own): value for task, known in every for own, value in known.items()}

    return of_all if plan.also else costs[""]


def fitting_references(plan: Plan) -> list[Genome]:
    """The references to try first: those the study names, or all that are in its space, as far
    as they keep its constraints.

    Raises SpaceError for one that the study names and its space does not hold, and
    ArchitectureError for a name that is none.
    """
    names, hard = plan.study.references, feasibility(plan)
    fitting = []
    for name in REFERENCES if names is None else names:
        architecture = reference(name)
        if plan.space.contains(architecture):
            genome = plan.space.encode(architecture)
            if hard.violation(hard.cost_of(genome)) == 0:
                fitting.append(genome)
        elif names is not None:
            raise SpaceError(f"reference {name!r} is not in the space {plan.space.name!r}")
    return fitting


def survey(plan: Plan, draws: int = 2000) -> dict[str, float]:
    """What the constraints leave of the space, from random draws (seed 0)."""
    hard = feasibility(plan)
    rng = random.Random(0)
    costs = [hard.cost_of(plan.space.random_genome(rng)) for _ in range(draws)]
    macs = sorted(c["macs"] for c in costs)
    return {
        "feasible_share": sum(hard.violation(c) == 0 for c in costs) / draws,
        "smallest_macs": hard.extreme("macs", rng, 1),
        "median_macs": macs[draws // 2],
        "largest_macs": hard.extreme("macs", rng, -1),
    }
