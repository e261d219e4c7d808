"""Many samplers, many seeds, on the cores of this machine."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from ...tables import Table, read_table
from .arms import Arm
from .quality import BestJudge, FrontJudge, judge_of
from .replay import replay
from .results import Result, Results


@dataclass(frozen=True)
class Source:
    """Where a table is: see `tables.read_table`."""

    card: str
    data: Path | None = None

    def describe(self) -> dict[str, Any]:
        """What the results say of the table."""
        table, judge = _loaded(self)
        bounds = {n: bound.model_dump(exclude_none=True) for n, bound in table.bounds.items()}
        # Without it in tables of several objectives: files of earlier versions can be gone on with.
        regret = {} if judge.regret_of is None else {"regret_of": judge.regret_of}
        return {
            **regret,
            "name": table.name,
            "rows": table.size(),
            "feasible": judge.num_feasible,
            "runs": table.fidelities[-1].scores.shape[1],
            "constraints": bounds,
            "reference": table.reference,
        }


def missing(arms: Sequence[Arm], num_seeds: int, known: Results) -> list[tuple[Arm, int]]:
    """Samplers with the seeds that the results lack; a seed of all before the next, so that
    results can be compared while they come."""
    return [
        (arm, seed)
        for seed in range(num_seeds)
        for arm in arms
        if seed < (arm.num_seeds or num_seeds) and not known.has(arm.name, seed)
    ]


def replays(
    source: Source, tasks: Sequence[tuple[Arm, int]], trainings: int, jobs: int
) -> Iterator[Result]:
    """The result of each sampler and seed, as they come; jobs: processes, 1: this one."""
    if jobs == 1:
        yield from (_one(source, arm, seed, trainings) for arm, seed in tasks)
        return
    # Forks of this process would share the locks of its threads, and those of a fresh one are
    # spared the seconds that the imports take.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_begin)
    try:
        waiting = [pool.submit(_one, source, arm, seed, trainings) for arm, seed in tasks]
        for done in as_completed(waiting):
            yield done.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    threadpool_limits(1)  # every core has a process already


def _one(source: Source, arm: Arm, seed: int, trainings: int) -> Result:
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it tells of every study it makes
    table, judge = _loaded(source)
    done = replay(table, arm, seed, trainings)
    curve = np.round(judge.curve(done.rows, seed), 4 if judge.regret_of is None else 6).tolist()
    curve += curve[-1:] * (trainings - len(curve))  # nothing was left to be trained
    return Result(
        arm.name, seed, curve, len(done.rows), done.redrawn, done.infeasible, done.proposal_s
    )


@functools.lru_cache(maxsize=1)
def _loaded(source: Source) -> tuple[Table, FrontJudge | BestJudge]:
    table = read_table(source.card, source.data)
    return table, judge_of(table)
