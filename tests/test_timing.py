"""The measuring protocol, with runs whose cost is known: the clock adds up what they say."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from hybridnas.errors import ConfigError
from hybridnas.profiling import setting_for
from hybridnas.profiling.timing import Effort, Run, clock_of, time_in_turn
from hybridnas.provenance import machine


@dataclass
class Paced:
    """A run whose n-th call takes the n-th of its seconds, and the last of them from then on."""

    seconds: list[float]
    calls: int = 0
    log: list[str] = field(default_factory=list)
    name: str = "run"

    def __call__(self) -> None:
        self.calls += 1

    def next(self) -> float:
        self()
        return self.seconds[min(self.calls, len(self.seconds)) - 1]


def clock(run: Run, times: int) -> float:
    assert isinstance(run, Paced)
    run.log.append(f"{run.name} x {times}")
    return sum(run.next() for _ in range(times))


def test_the_median_of_rounds_after_warm_up() -> None:
    # 2 first calls, 3 of warm-up, then rounds of 2: means 1, 5, 2 ms.
    run = Paced([9.0, 0.001, 9.0, 9.0, 9.0, 0.001, 0.001, 0.004, 0.006, 0.002])
    (timed,) = time_in_turn([run], clock, Effort(warmup=3, rounds=3, runs=2, seconds=10))
    assert timed.ms == pytest.approx(2.0)
    assert [timed.low_ms, timed.high_ms] == pytest.approx([1.0, 5.0])
    assert (timed.runs, run.calls) == (6, 2 + 3 + 6)


def test_things_are_timed_in_turn() -> None:
    log: list[str] = []
    runs = [Paced([0.001], log=log, name="own"), Paced([0.002], log=log, name="reference")]
    own, reference = time_in_turn(runs, clock, Effort(warmup=1, rounds=2, runs=3, seconds=10))
    assert log[-4:] == ["own x 3", "reference x 3"] * 2
    assert [own.ms, reference.ms] == pytest.approx([1.0, 2.0])


def test_slow_things_are_run_less_often() -> None:
    slow = Paced([1.0])
    (timed,) = time_in_turn([slow], clock, Effort(warmup=50, rounds=5, runs=30, seconds=20))
    assert timed.runs == 5 * 3  # three quarters of 20 s
    assert slow.calls == 2 + 5 + 15
    (timed,) = time_in_turn([Paced([100.0])], clock, Effort(seconds=1))
    assert timed.runs == 5  # a run a round at least


def test_the_clock_counts_every_run() -> None:
    calls: list[int] = []
    assert clock_of(torch.device("cpu"))(lambda: calls.append(1), 7) > 0
    assert len(calls) == 7


def test_a_setting_says_what_it_is() -> None:
    cpu = torch.device("cpu")
    setting = setting_for(cpu, (32, 64), 4)
    assert (setting.dtype, setting.mode, setting.batch) == ("float32", "eager", 4)
    assert setting.words == f"{machine(cpu)['device']}, float32, batch 4, eager, 32 x 64 px"
    assert setting_for(cpu, (32, 64)).batch == 1
    with pytest.raises(ConfigError, match="--mode captured needs a CUDA device, got cpu"):
        setting_for(cpu, (32, 32), mode="captured")
    with pytest.raises(ConfigError, match="--dtype takes float32, bfloat16, float16, got 'int8'"):
        setting_for(cpu, (32, 32), dtype="int8")
    with pytest.raises(ConfigError, match="--mode takes eager, captured, compiled, got 'fast'"):
        setting_for(cpu, (32, 32), mode="fast")
