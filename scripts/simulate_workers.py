"""A search with many workers, simulated: how long do they wait for its driver?

The search core is real, with its database; workers are events. A training takes a time drawn
log-normally (sigma 0.35) around --minutes times (MACs / median MACs) ** 0.5; the driver takes the
time that it really takes, measured call by call, and serves one worker at a time: it settles a
finished candidate and gives out the next. Workers write their results themselves, so that is none
of the driver's time.

A line a setting:

- proposals/s: how many the driver makes when it does nothing else but settle as many;
- waiting: the share of the workers' time in which they have no candidate, from the first one on
  until the budget's last candidate is given out; `steady`: without the first candidate of each;
- awaited: of the trials that were begun before a proposal, how many were without a result when it
  was made (median, after the first of each worker): what it cannot know.

    PYTHONPATH=.:kernels python scripts/simulate_workers.py --sampler random --trials 3000
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hybridnas.config import parse_study
from hybridnas.search.core import SearchCore
from hybridnas.search.ladder import problem_of
from hybridnas.search.local import scored
from hybridnas.search.observer import Candidate
from hybridnas.search.plan import Plan
from hybridnas.space import SearchSpace
from hybridnas.store import Store

_SIGMA = 0.35
_CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--minutes", type=float, nargs="+", default=[30, 10, 2])
    parser.add_argument("--storage", help="database; default: a new SQLite file each time")
    parser.add_argument(
        "--clock", choices=_CLOCKS, default="wall", help="cpu: of a machine that others use, too"
    )
    given = parser.parse_args()
    print(f"sampler {given.sampler}, {given.workers} workers, {given.trials} trials", flush=True)
    print("minutes  ms/trial  ms at end  proposals/s  waiting  steady  awaited", flush=True)
    for minutes in given.minutes:
        with tempfile.TemporaryDirectory() as folder:
            url = given.storage or f"sqlite:///{Path(folder) / 'simulation.db'}"
            with Store.open(url) as store:
                name = f"simulation-{given.sampler}-{minutes:g}-{int(time.time())}"
                core = begin(store, name, given.sampler, given.trials)
                clock = _CLOCKS[given.clock]
                found = simulate(core, given.workers, duration(minutes), clock)
        print(found.line(minutes), flush=True)


def begin(store: Store, name: str, sampler: str, trials: int) -> SearchCore:
    """A search of the space `hybrid` (34 decisions) under a limit that half of it keeps."""
    study = parse_study(
        {
            "name": name,
            "space": "hybrid",
            "fidelities": [{"epochs": 30, "resolution": 224}],
            "constraints": {"macs": {"max": 4.5e9}},
            "sampler": sampler,
            "budget": {"trials": trials},
            "references": [],
        },
        "simulation",
    )
    protocol = study.protocol("0" * 12, tuple(f"class {i}" for i in range(100)))
    plan = Plan(study, SearchSpace.load(study.space), protocol, {1.0: 100_000})
    store.put_study(name, plan.config)
    return SearchCore(problem_of(plan), store)


def duration(minutes: float) -> Callable[[Candidate], float]:
    """Seconds of a candidate's training, the same whenever it is asked."""

    def seconds(candidate: Candidate) -> float:
        luck = random.Random(candidate.digest).gauss(0, _SIGMA)
        return 60 * minutes * (candidate.costs["macs"] / 3e9) ** 0.5 * math.exp(luck)

    return seconds


def accuracy(candidate: Candidate) -> float:
    """Grows with MACs, with noise of a point."""
    noise = random.Random(f"{candidate.digest} score").gauss(0, 0.01)
    return 0.7 + 0.05 * math.log10(candidate.costs["macs"] / 1e9) + noise


@dataclass
class Found:
    """workers: of the simulation. calls_s: the driver's time a trial, in the order of trials.

    waited_s, busy_s: of all workers; first_s: of the waiting, that for the first candidate.
    awaited: a number a proposal, but for the first of each worker.
    """

    workers: int
    calls_s: list[float] = field(default_factory=list)
    waited_s: float = 0.0
    first_s: float = 0.0
    busy_s: float = 0.0
    awaited: list[int] = field(default_factory=list)

    def line(self, minutes: float) -> str:
        each, last = statistics.mean(self.calls_s), statistics.mean(self.calls_s[-200:])
        steady = self.waited_s - self.first_s
        return (
            f"{minutes:7g}  {1e3 * each:8.1f}  {1e3 * last:9.1f}  {1 / each:11.1f}  "
            f"{_share(self.waited_s, self.busy_s)}  {_share(steady, self.busy_s)}  "
            f"{statistics.median(self.awaited):7.0f}"
        )


def _share(waited_s: float, busy_s: float) -> str:
    return f"{100 * waited_s / (waited_s + busy_s):5.2f} %"


def simulate(
    core: SearchCore,
    workers: int,
    seconds_of: Callable[[Candidate], float],
    clock: Callable[[], float],
) -> Found:
    """Runs the search to the end of its budget, in simulated time."""
    found = Found(workers)
    free_at = [(0.0, worker) for worker in range(workers)]  # a heap
    training: dict[int, tuple[Candidate, float]] = {}
    now = 0.0  # when the driver is free
    while True:
        since, worker = heapq.heappop(free_at)
        now = max(now, since)
        ended = training.pop(worker, None)
        if ended is not None:
            candidate, seconds = ended
            evaluation = scored(candidate, {"top1": accuracy(candidate)}, seconds, gpus=1)
            core.store.record(candidate.token, evaluation)
        began = clock()
        if ended is not None:
            core.settle(candidate.number)
        given = core.ask()
        spent = clock() - began
        now += spent
        if given is None:
            return found
        found.calls_s.append(spent)
        found.waited_s += now - since
        if ended is None:
            found.first_s += now - since
        else:
            found.awaited.append(len(training))
        seconds = seconds_of(given)
        found.busy_s += seconds
        training[worker] = given, seconds
        heapq.heappush(free_at, (now + seconds, worker))


if __name__ == "__main__":
    main()
