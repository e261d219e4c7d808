"""One search, replayed on a table: no training, no database, the sampler as a study has it."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning

from ...space import Genome
from ...tables import Table
from ..feasibility import Feasibility
from ..fresh import FreshProposals
from ..proposer import Proposer
from ..samplers import make_sampler
from .arms import PLAIN_SAMPLERS, Arm

Floats = NDArray[np.float64]

# Random candidates that a sampler without any of its own begins with.
_FIRST = 10


@dataclass(frozen=True)
class Replay:
    """rows: of the table, in the order of their trainings; fewer where nothing fresh was left.

    redrawn: proposals that broke a constraint and were repaired; infeasible: those that were
    trained. proposal_s: CPU seconds of all proposals.
    """

    rows: list[int]
    redrawn: int
    infeasible: int
    proposal_s: float


def feasibility_of(table: Table) -> Feasibility:
    """The table's hard constraints."""
    return Feasibility(table, table.bounds, table.cost_of)


def observed_scores(table: Table, seed: int) -> Floats:
    """(rows,): of each row one run of the last fidelity, drawn by the seed; what a search sees."""
    scores = table.fidelities[-1].scores
    drawn = np.random.default_rng(seed).integers(scores.shape[1], size=len(scores))
    return scores[np.arange(len(scores)), drawn]


def first_points(hard: Feasibility, number: int, seed: int) -> list[Genome]:
    """So many different random candidates (at most) that keep the constraints: with the same seed
    the first ones of every sampler."""
    rng = random.Random(seed)
    drawn = (hard.draw(rng) for _ in range(3 * number))
    different = {hard.space.categories(genome): genome for genome in drawn if genome is not None}
    return list(different.values())[:number]


def replay(table: Table, arm: Arm, seed: int, trainings: int) -> Replay:
    """A search with one training after the other.

    Two arms with the same seed see the same noise and begin with the same random candidates, as
    many as each of them begins with (but for `plain` ones, which begin by themselves).
    """
    scores, objectives = observed_scores(table, seed), list(table.objectives)

    def values(row: int) -> list[float]:
        return [scores[row] if n == table.metric else table.costs[n][row] for n in objectives]

    all_values = [values(row) for row in range(table.size())]
    if arm.sampler is None:
        return _plain(table, arm, seed, trainings, all_values)
    hard = feasibility_of(table)
    given = arm.sampler.seed
    sampler = make_sampler(arm.sampler, hard, table.objectives, seed if given is None else given)
    proposer = Proposer(table.genes, list(table.objectives.values()), sampler)
    first = first_points(hard, min(arm.sampler.num_random or _FIRST, trainings), seed)
    fresh = FreshProposals(hard, proposer, seed, first)
    rows: list[int] = []
    started = time.process_time()
    while len(rows) < trainings and (proposal := fresh.next()) is not None:
        row = table.row(proposal.genome)
        proposer.link(proposal.mirror, len(rows))
        proposer.tell(len(rows), all_values[row])
        rows.append(row)
    spent = time.process_time() - started
    broken = sum(hard.violation(table.cost_of(table.genome(row))) > 0 for row in rows)
    return Replay(rows, fresh.num_infeasible, broken, spent)


def _plain(
    table: Table, arm: Arm, seed: int, trainings: int, values: Sequence[Sequence[float]]
) -> Replay:
    """Optuna's sampler as its users have it: the constraint is told when the training is done."""
    hard = feasibility_of(table)
    genes = {name: CategoricalDistribution(choices) for name, choices in table.genes.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        sampler = getattr(optuna.samplers, PLAIN_SAMPLERS[arm.plain])(seed=seed)
    study = optuna.create_study(sampler=sampler, directions=list(table.objectives.values()))
    rows, infeasible = [], 0
    started = time.process_time()
    for _ in range(trainings):
        trial = study.ask(dict(genes))
        slacks = hard.slacks(table.cost_of(trial.params))
        for number, slack in enumerate(slacks):
            trial.set_constraint(str(number), slack)
        row = table.row(trial.params)
        study.tell(trial, list(values[row]))
        rows.append(row)
        infeasible += any(slack > 0 for slack in slacks)
    return Replay(rows, 0, infeasible, time.process_time() - started)
