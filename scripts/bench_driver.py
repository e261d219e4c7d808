"""What a trial costs the driver of a search, by the number of trials in the study.

Drives the search core in process with an evaluator that does nothing: ask for a candidate, write
its result as a worker would, settle it. Medians over the hundred trials after each mark,
in milliseconds a trial:

- propose: the sampler, with decoding and counting of costs (not the driver's);
- ask: the trial, its parameters and its lease written to the database;
- write: the worker's part, apart as well;
- settle: the result read, and Optuna's trial ended.

`workers` candidates are out at a time. Run from the repository:

    PYTHONPATH=.:kernels python scripts/bench_driver.py --storage sqlite:////tmp/bench.db \\
        --storage postgresql+psycopg://tester@127.0.0.1:5432/empty
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from hybridnas.config import parse_study
from hybridnas.search.core import SearchCore
from hybridnas.search.fresh import FreshProposals
from hybridnas.search.ladder import problem_of
from hybridnas.search.observer import Candidate
from hybridnas.search.plan import Plan
from hybridnas.space import SearchSpace
from hybridnas.store import Evaluation, Store, redact

WINDOW = 100  # trials after each mark
PARTS = ("propose", "ask", "write", "settle")

_T = TypeVar("_T")


class Clock:
    """Seconds of each part of the trials since the last `reset`."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {part: [] for part in PARTS}

    def reset(self) -> None:
        for known in self.seconds.values():
            known.clear()

    def timed(self, part: str, work: Callable[..., _T], *arguments: Any) -> _T:
        began = time.perf_counter()
        result = work(*arguments)
        self.seconds[part].append(time.perf_counter() - began)
        return result

    def median_ms(self, part: str) -> float:
        return 1e3 * statistics.median(self.seconds[part])


def bench_plan(name: str, sampler: str) -> Plan:
    """A study over the hybrid space (34 decisions) whose budget does not end."""
    study = parse_study(
        {
            "name": name,
            "space": "hybrid",
            "fidelities": [{"epochs": 1, "resolution": 64}],
            "sampler": sampler,
            "budget": {"trials": 10**6},
            "references": [],
        },
        "bench",
    )
    classes = tuple(f"class {i}" for i in range(10))
    return Plan(study, SearchSpace.load(study.space), study.protocol("0" * 12, classes))


def result(candidate: Candidate, rng: random.Random) -> Evaluation:
    """What a worker writes of a training."""
    now = datetime.now(UTC)
    return Evaluation(
        architecture_digest=candidate.digest,
        protocol_digest=candidate.protocol.digest,
        status="ok",
        seed=candidate.protocol.seed,
        started_at=now,
        ended_at=now,
        metrics={"top1": rng.random(), "top5": 0.9, "loss": 1.0, **candidate.costs},
        curve=tuple({"epoch": i, "loss": 1.0, "lr": 0.1, "seconds": 1.0} for i in range(30)),
        timing={"total_s": 60.0, "gpu_s": 60.0, "train_images_per_second": 1000.0},
        machine={"device": "cpu", "threads": 1},
        versions={"torch": "2.14.1"},
    )


@contextmanager
def timing_proposals(clock: Clock) -> Iterator[None]:
    """Counts the sampler's part of `ask` apart."""
    real = FreshProposals.next

    def timed(self: FreshProposals) -> Any:
        return clock.timed("propose", real, self)

    FreshProposals.next = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        FreshProposals.next = real  # type: ignore[method-assign]


def run(store: Store, sampler: str, workers: int, marks: list[int]) -> Iterator[list[str]]:
    """A row of the table a mark."""
    plan, clock, rng = bench_plan(f"bench-{workers}", sampler), Clock(), random.Random(0)
    store.put_study(plan.study.name, plan.config)
    core = SearchCore(problem_of(plan), store)
    out: list[Candidate] = []
    first_ms = None
    with timing_proposals(clock):
        for settled in range(marks[-1] + WINDOW):
            if settled in marks:
                clock.reset()
            while len(out) < workers:
                candidate = clock.timed("ask", core.ask)
                assert candidate is not None, core.stop_reason
                out.append(candidate)
            ended = out.pop(rng.randrange(len(out)))
            clock.timed("write", store.record, ended.token, result(ended, rng))
            clock.timed("settle", core.settle, ended.number)
            if settled + 1 - WINDOW in marks:
                parts = {part: clock.median_ms(part) for part in PARTS}
                parts["ask"] -= parts["propose"]
                driver_ms = parts["ask"] + parts["settle"]
                first_ms = first_ms or driver_ms
                yield [
                    str(workers),
                    str(settled + 1 - WINDOW),
                    *(f"{parts[part]:.1f}" for part in PARTS),
                    f"{driver_ms:.1f}",
                    f"{1e3 / (driver_ms + parts['propose']):.0f}",
                    f"{driver_ms / first_ms:.2f}",
                ]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--storage", action="append", required=True, metavar="URL")
    arguments.add_argument("--marks", default="100,1000,5000")
    arguments.add_argument("--workers", default="1,64")
    arguments.add_argument("--sampler", default="random")
    given = arguments.parse_args()
    marks = [int(mark) for mark in given.marks.split(",")]
    heads = ["workers", "trials", *PARTS, "driver ms", "trials/s", "growth"]
    for url in given.storage:
        print(f"\n{redact(url)}, sampler {given.sampler}; ms a trial\n" + "  ".join(heads))
        with Store.open(url) as store:
            for workers in map(int, given.workers.split(",")):
                for row in run(store, given.sampler, workers, marks):
                    cells = zip(row, heads, strict=True)
                    print("  ".join(cell.rjust(len(head)) for cell, head in cells), flush=True)


if __name__ == "__main__":
    main()
