"""Everything that can be checked before a search starts, checked."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..architecture import Architecture
from ..config import Fidelity, Protocol, Study, parse_study
from ..cost import Cost, cost, input_size
from ..counting import Size, pixels
from ..data import DIGITS
from ..data.readers import full_path
from ..errors import ConfigError, SpaceError
from ..profiling import LatencyTable, load_table
from ..reference import REFERENCES, reference
from ..space import Genome, SearchSpace
from ..store import Store
from ..tasks import TASKS
from ..train import (
    FRESH,
    check_recipe,
    file_digest,
    fitting_weights,
    network_of,
    read_weights,
)
from .feasibility import Feasibility
from .genome_cost import GenomeCost
from .samplers import make_sampler

# What a resumed study may change: when to stop, where to run, who proposes.
_FREE = {
    *("description", "budget", "halving", "final", "resources", "sampler"),
    *("artifacts", "keep_weights", "references"),
}


@dataclass(frozen=True)
class Plan:
    """A study whose space, data and constraints were found and fit together."""

    study: Study
    space: SearchSpace
    protocol: Protocol
    latency: LatencyTable | None = None

    @property
    def num_classes(self) -> int:
        return len(self.protocol.class_names)

    @property
    def config(self) -> dict[str, Any]:
        """The study as the database keeps it: complete, with its space written out."""
        return {**self.study.model_dump(mode="json"), "space": dict(self.space.spec.raw)}


def rung_protocol(plan: Plan, fidelity: Fidelity, seed: int | None = None) -> Protocol:
    """What an evaluation at a rung is made under; seed None: the study's."""
    update = {"fidelity": fidelity, "seed": plan.study.seed if seed is None else seed}
    return plan.protocol.model_copy(update=update)


def run_protocol(plan: Plan, rung: int, repeat: int) -> Protocol:
    """The same for a run of a trial; its repeats have the seeds that follow the study's."""
    return rung_protocol(plan, plan.study.fidelities[rung], plan.study.seed + repeat)


def make_plan(study: Study) -> Plan:
    """Loads the space, looks at the data, and checks that constraints and references can be met.

    Raises HybridnasError.
    """
    space = SearchSpace.load(study.space)
    task = TASKS[study.task.name]
    check_recipe(study.recipe)
    task.check(study.recipe)
    study = _with_full_paths(study)
    study, latency = _with_latency(study)
    init_digest = "" if study.init == FRESH else file_digest(Path(study.init))
    protocol = study.protocol(
        task.data_digest(study.task), task.class_names(study.task), init_digest
    )
    plan = Plan(study, space, protocol, latency)
    _check_networks(plan)
    hard = feasibility(plan)
    hard.check()
    make_sampler(study.sampler, hard, study.objectives, 0)  # refuses what it cannot search
    fitting_references(plan)
    return plan


def _with_full_paths(study: Study) -> Study:
    """Workers have a current folder of their own."""

    def full(path: str) -> str:
        return str(Path(path).expanduser().absolute())

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


def counted_size(study: Study) -> Size:
    """(height, width) of the image that a study's MACs are counted for."""
    return input_size(study.task.name, study.fidelity.resolution)


def counted_cost(study: Study, architecture: Architecture, num_classes: int) -> Cost:
    """An architecture's cost at the top of the ladder, with the head of the study's task."""
    task = study.task
    size = counted_size(study)
    return cost(architecture, size, task.name, num_classes, head_width=task.head_width)


def counted_costs(plan: Plan, architecture: Architecture, resolution: int) -> dict[str, float]:
    """An architecture's macs and params with the head of the study's task, for its classes."""
    task = plan.study.task
    size = input_size(task.name, resolution)
    known = cost(architecture, size, task.name, plan.num_classes, head_width=task.head_width)
    return {"macs": known.macs, "params": known.params}


def feasibility(plan: Plan) -> Feasibility:
    """The study's hard constraints over its space, costs counted at its resolution."""
    size, task = counted_size(plan.study), plan.study.task
    costs = GenomeCost(plan.space, size, task.name, plan.num_classes, task.head_width, plan.latency)
    dense = f"with the head of {task.name}, at {pixels(size)}" if len(set(size)) > 1 else ""
    return Feasibility(plan.space, plan.study.constraints.bounds(), costs, dense)


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
    }


def register(plan: Plan, store: Store, resume: bool) -> None:
    """Puts a new study into the database, or checks that it goes on with what is there.

    What it may change is written only when the session has begun and nobody else runs it
    (`run_study`). Raises ConfigError as `check_registered` does.
    """
    check_registered(plan, store, resume)
    if store.study_config(plan.study.name) is None:
        store.put_study(plan.study.name, plan.config)


def check_registered(plan: Plan, store: Store, resume: bool) -> bool:
    """Whether the database has the study; nothing is written.

    A study without a trial yet (Ray could not be started, say) is as good as new. Raises
    ConfigError where it exists and resume is not asked for, or where something was changed that
    would make old and new trials incomparable.
    """
    name = plan.study.name
    known = store.study_config(name)
    if known is None or not store.trials(name):
        return False
    if not resume:
        raise ConfigError(
            f"study {name!r} is in the database already: go on with --resume, "
            f"or give this one another name (--set name=...)"
        )
    _check_same(plan, known, store)
    return True


def _check_same(plan: Plan, known: Mapping[str, Any], store: Store) -> None:
    now, then = plan.config, parse_study(known, "the database").model_dump(mode="json")
    for config in (now, then):  # where a table lies does not matter, what it holds does
        config["latency"] = config["latency"] and config["latency"]["sha256"]
    changed = sorted(key for key in now.keys() - _FREE - {"task"} if now[key] != then[key])
    if list(now["objectives"]) != list(then["objectives"]):
        changed = sorted({*changed, "objectives"})  # their order is that of the stored values
    if changed:
        raise ConfigError(
            f"study {plan.study.name!r} cannot be resumed with another {', '.join(changed)}: its "
            f"trials would not be comparable; go on with what it began with by its name, "
            f"`hybridnas search {plan.study.name} --resume`, or start a new one (--set name=...)"
        )
    runs = [run for record in store.trials(plan.study.name) for run in record.runs]
    digests = {run.protocol_digest for run in runs}
    places = {(run.rung, run.repeat) for run in runs}
    if digests - {run_protocol(plan, *place).digest for place in places}:
        raise ConfigError(
            f"study {plan.study.name!r} cannot be resumed: its data set or task has changed since "
            f"(protocol {plan.protocol.digest}, its trials have {', '.join(sorted(digests))})"
        )
