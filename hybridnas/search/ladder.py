"""The rungs of a study: fidelities from the cheapest to the one that counts."""

from __future__ import annotations

import random
import statistics
from dataclasses import dataclass
from functools import cache, partial

from ..config import Fidelity, Study
from ..cost import cost
from ..space import Genome
from ..store import Place
from ..tasks import TASKS
from ..tasks.batch_size import left_out_words, trained_images, training_batch_size
from .feasibility import Costs
from .halving import quota
from .plan import Plan, counted_costs, feasibility, fitting_references, run_protocol
from .problem import Problem
from .strata import feasible

_DRAWN = 200


@dataclass(frozen=True, slots=True)
class Rung:
    """A fidelity and what a training at it takes.

    images: that it goes through, over all epochs, in full batches. macs: of one of them, as large
    as the task trains on at the rung's resolution, for the median of random architectures that keep
    the constraints.
    """

    fidelity: Fidelity
    images: int
    macs: float

    @property
    def image_macs(self) -> float:
        """Images x MACs: the forward passes of one training; its backward ones are twice that."""
        return self.images * self.macs


def ladder(plan: Plan) -> list[Rung]:
    """The study's rungs, lowest first."""
    study, hard, rng = plan.study, feasibility(plan), random.Random(0)
    task = study.task
    drawn = feasible(hard, _DRAWN, _DRAWN // 10, rng) or [plan.space.random_genome(rng)]
    architectures = [plan.space.decode(genome) for genome in drawn]
    rungs = []
    for fidelity in study.fidelities:
        size = TASKS[task.name].training_size(fidelity.resolution)
        macs = statistics.median(
            cost(a, size, task.name, plan.num_classes, head_width=task.head_width).macs
            for a in architectures
        )
        images = trained_images(study.recipe, fidelity, plan.training_images[fidelity.share])
        rungs.append(Rung(fidelity, images, macs))
    return rungs


def left_out(plan: Plan) -> list[str]:
    """A line for each of the study's training sets of which an epoch leaves out more than a tenth,
    since its batches are full ones."""
    lines = []
    for name, one in plan.tasks.items():
        for there in dict.fromkeys(one.training_images.values()):
            size = training_batch_size(one.study.recipe, there)
            if words := left_out_words(there, there - there % size, size):
                lines.append(f"{name and f'{name}: '}{words}")
    return lines


def candidates(study: Study, size: int | None = None, references: int = 0) -> list[int | None]:
    """How many candidates each rung sees, the lowest first, when the trials are what ends the
    search. None: nobody can tell. size: how many architectures there are to propose, if that is
    known. references: how many of them are references, which are trained at every rung."""
    most = [number for number in (study.budget.trials, size) if number is not None]
    if study.budget.trials is None and (size is None or study.sampler.name != "grid"):
        return [None] * len(study.fidelities)
    references = min(references, *most)
    others = [min(most) - references]
    for rate in study.rates:
        others.append(quota(rate, others[-1]))
    return [references + number for number in others]


def problem_of(plan: Plan) -> Problem:
    """A study as the search core sees it."""
    study = plan.study

    def recorded(genome: Genome, place: Place) -> Costs:
        # Of an evaluation's own resolution, which another study may read.
        task = plan.tasks[place.task]
        resolution = task.study.fidelities[place.rung].resolution
        return counted_costs(task, plan.space.decode(genome), resolution)

    sizes = [{f.resolution for f in task.fidelities} for task in study.tasks.values()]
    one_size = all(len(of_a_task) == 1 for of_a_task in sizes)
    return Problem(
        name=study.name,
        feasibility=feasibility(plan),
        objectives=study.objectives,
        soft=study.soft(),
        terms=cache(partial(run_protocol, plan)),
        budget=study.budget,
        tasks=[*study.tasks],
        rates=study.rates,
        final=study.final,
        sampler=study.sampler,
        seed=study.seed if study.sampler.seed is None else study.sampler.seed,
        references=fitting_references(plan),
        recorded=None if one_size else recorded,
    )
