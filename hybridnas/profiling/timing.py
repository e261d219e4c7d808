"""How something is timed: warmed up, in rounds, in turn with a reference, the median taken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

Run = Callable[[], object]
Clock = Callable[[Run, int], float]
"""Seconds that so many runs in a row take."""
Told = Callable[[str, int, int], None]
"""Is told, between what is timed, what that is, and how many of how many steps are done."""


def silent(what: str, done: int, total: int) -> None:
    """For whom nobody looks on."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How often a thing is run: warmup times, then rounds of so many runs.

    seconds: about as much time goes into one thing at most (all of it, at its own speed), so that
    slow ones are run less often; but every round has one run at least.
    """

    warmup: int = 50
    rounds: int = 5
    runs: int = 30
    seconds: float = 8.0


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds of one run: median, least and most of the rounds' means."""

    ms: float
    low_ms: float
    high_ms: float
    runs: int


def clock_of(device: torch.device) -> Clock:
    """CUDA's events on a GPU, the processor's finest clock elsewhere."""
    return _cuda_clock(device) if device.type == "cuda" else _cpu_clock


def time_in_turn(
    runs: Sequence[Run],
    clock: Clock,
    effort: Effort,
    on_round: Callable[[int], None] = lambda done: None,
) -> list[Timed]:
    """Times things in turn, round by round, so that a clock that drifts does so for all.

    on_round: told how many rounds are done; 0 once all is warmed up.
    """
    often = [_warm_up(run, clock, effort) for run in runs]
    found: list[list[float]] = [[] for _ in runs]
    on_round(0)
    for number in range(1, effort.rounds + 1):
        for run, times, ms in zip(runs, often, found, strict=True):
            ms.append(1e3 * clock(run, times) / times)
        on_round(number)
    return [
        Timed(statistics.median(ms), min(ms), max(ms), times * effort.rounds)
        for ms, times in zip(found, often, strict=True)
    ]


def _warm_up(run: Run, clock: Clock, effort: Effort) -> int:
    """Warms up, and gives how many runs a round takes."""
    clock(run, 1)  # which may compile, allocate, choose algorithms
    once = max(clock(run, 1), 1e-9)
    affordable = effort.seconds / once
    clock(run, max(1, min(effort.warmup, int(affordable / 4))))
    return max(1, min(effort.runs, int(affordable * 3 / 4 / effort.rounds)))


def _cpu_clock(run: Run, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        run()
    return time.perf_counter() - began


def _cuda_clock(device: torch.device) -> Clock:
    def clock(run: Run, times: int) -> float:
        first = torch.cuda.Event(enable_timing=True)
        last = torch.cuda.Event(enable_timing=True)
        with current(device):
            first.record()
            for _ in range(times):
                run()
            last.record()
            last.synchronize()
        return first.elapsed_time(last) / 1e3

    return clock


def current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU the current one, whose streams and graphs are meant; nothing elsewhere."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
