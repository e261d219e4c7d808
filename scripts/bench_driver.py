"""What a trial costs the driver of a search, by the number of trials in the study.

Drives the search core in process with an evaluator that does nothing: ask for a candidate, write
its result as a worker would, settle it. Medians over the hundred trials after each mark,
in milliseconds a trial:

- propose: the sampler, with decoding and counting of costs (not the driver's);
- ask: the trial, its parameters and its lease written to the database;
- write: the worker's part, apart as well;
- settle: the result read, and Optuna's trial ended;
- driver: ask and settle; of it CPU time of this process (the rest is the disk, or the server).

`workers` candidates are out at a time. Run from the repository:

    PYTHONPATH=.:kernels python scripts/bench_driver.py --storage sqlite:////tmp/bench.db \\
        --storage postgresql+psycopg://tester@127.0.0.1:5432/empty
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from hybridnas.config import parse_study
from hybridnas.search.core import SearchCore
from hybridnas.search.fresh import FreshProposals
from hybridnas.search.ladder import problem_of
from hybridnas.search.local import scored
from hybridnas.search.observer import Candidate
from hybridnas.search.plan import Plan
from hybridnas.space import SearchSpace
from hybridnas.store import Evaluation, Store, redact

WINDOW = 100  # trials after each mark
PARTS = ("propose", "ask", "write", "settle")

_T = TypeVar("_T")


class Clock:
    """Seconds of each part of the trials since the last `reset`: on the wall, and of CPU."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.seconds: dict[str, list[float]] = {part: [] for part in PARTS}
        self.cpu: dict[str, list[float]] = {part: [] for part in PARTS}

    def timed(self, part: str, work: Callable[..., _T], *arguments: Any) -> _T:
        began, began_cpu = time.perf_counter(), time.process_time()
        result = work(*arguments)
        self.seconds[part].append(time.perf_counter() - began)
        self.cpu[part].append(time.process_time() - began_cpu)
        return result

    @property
    def wall_ms(self) -> dict[str, float]:
        return _medians_ms(self.seconds)

    @property
    def cpu_ms(self) -> dict[str, float]:
        return _medians_ms(self.cpu)


def _medians_ms(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Of each part; `propose` is not counted in `ask`. driver: ask and settle."""
    found = {part: 1e3 * statistics.median(values) for part, values in seconds.items()}
    found["ask"] -= found["propose"]
    return {**found, "driver": found["ask"] + found["settle"]}


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
    protocol = study.protocol("0" * 12, tuple(f"class {i}" for i in range(10)))
    return Plan(study, SearchSpace.load(study.space), protocol, {1.0: 50_000})


def result(candidate: Candidate, rng: random.Random) -> Evaluation:
    """What a worker writes of a training."""
    found = scored(candidate, {"top1": rng.random(), "top5": 0.9, "loss": 1.0}, 60.0, gpus=1.0)
    return replace(
        found,
        curve=tuple({"epoch": i, "loss": 1.0, "lr": 0.1, "seconds": 1.0} for i in range(30)),
        timing={**found.timing, "train_images_per_second": 1000.0},
        machine={"device": "cpu", "threads": 1},
        versions={"torch": "2.14.1"},
    )


@contextmanager
def timing_proposals(search: Search) -> Iterator[None]:
    """Counts the sampler's part of `ask` apart."""
    real = FreshProposals.next

    def timed(self: FreshProposals) -> Any:
        return search.clock.timed("propose", real, self)

    FreshProposals.next = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        FreshProposals.next = real  # type: ignore[method-assign]


class Search:
    """A search that never ends."""

    def __init__(self, store: Store, sampler: str) -> None:
        plan = bench_plan("bench", sampler)
        store.put_study(plan.study.name, plan.config)
        self.core, self.clock = SearchCore(problem_of(plan), store), Clock()
        self._store, self._rng = store, random.Random(0)
        self._out: list[Candidate] = []
        self.settled = 0

    def go_on(self, trials: int, workers: int) -> None:
        """Settles so many trials, with so many out at a time."""
        for _ in range(trials):
            while len(self._out) < workers:
                candidate = self.clock.timed("ask", self.core.ask)
                assert candidate is not None, self.core.stop_reason
                self._out.append(candidate)
            ended = self._out.pop(self._rng.randrange(len(self._out)))
            evaluation = result(ended, self._rng)
            self.clock.timed("write", self._store.record, ended.token, evaluation)
            self.clock.timed("settle", self.core.settle, ended.number)
            self.settled += 1

    def rest(self) -> None:
        """Settles what is out."""
        self.go_on(len(self._out) - 1, 1)


def rows(search: Search, marks: list[int], workers: list[int]) -> Iterator[list[str]]:
    """Of the table: one a mark and number of workers."""
    first: dict[int, tuple[float, float]] = {}
    for mark in marks:
        search.go_on(mark - search.settled, 1)
        for number in workers:
            search.go_on(1, number)
            search.clock.reset()
            search.go_on(WINDOW, number)
            wall, cpu = search.clock.wall_ms, search.clock.cpu_ms
            base = first.setdefault(number, (wall["driver"], cpu["driver"]))
            yield [
                str(number),
                str(mark),
                *(f"{wall[part]:.1f}" for part in PARTS),
                f"{wall['driver']:.1f}",
                f"{cpu['driver']:.1f}",
                f"{1e3 / (wall['driver'] + wall['propose']):.0f}",
                f"{wall['driver'] / base[0]:.2f}",
                f"{cpu['driver'] / base[1]:.2f}",
            ]
            search.rest()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--storage", action="append", required=True, metavar="URL")
    arguments.add_argument("--marks", default="100,1000,5000")
    arguments.add_argument("--workers", default="1,64")
    arguments.add_argument("--sampler", default="random")
    given = arguments.parse_args()
    marks = [int(mark) for mark in given.marks.split(",")]
    heads = ["workers", "trials", *PARTS, "driver", "of it CPU", "trials/s", "growth", "of CPU"]
    workers = [int(number) for number in given.workers.split(",")]
    for url in given.storage:
        print(f"\n{redact(url)}, sampler {given.sampler}; ms a trial\n" + "  ".join(heads))
        began = time.perf_counter()
        with Store.open(url) as store, timing_proposals(search := Search(store, given.sampler)):
            for row in rows(search, marks, workers):
                cells = zip(row, heads, strict=True)
                print("  ".join(cell.rjust(len(head)) for cell, head in cells), flush=True)
        print(f"{search.settled} trials in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
