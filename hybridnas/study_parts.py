"""What a study may spend, and must keep: parts of its YAML, as frozen values."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from .recipe import Value

# Known before training, so that a candidate that breaks them need not be trained.
_HARD = ("macs", "params", "latency_ms")


class Bound(Value):
    """The least and the most that a figure may be."""

    min: float | None = Field(default=None, ge=0)
    max: PositiveFloat | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self

    def excess(self, value: float) -> list[float]:
        """How far a value is outside, as shares of max and of min; not above 0 where it is kept."""
        over = [] if self.max is None else [value / self.max - 1]
        return over + ([1 - value / self.min] if self.min else [])


class Constraints(Value):
    """What a candidate must keep; units as in objectives.

    Hard ones (macs, params, latency_ms) are decided in closed form before training and never
    violated. Soft ones are of what is measured: a candidate that breaks one was trained, is told to
    the sampler as infeasible, and is on no front.
    """

    macs: Bound | None = None
    params: Bound | None = None
    latency_ms: Bound | None = None
    top1: Bound | None = None
    top5: Bound | None = None
    miou: Bound | None = None
    aacc: Bound | None = None
    macc: Bound | None = None
    box_ap: Bound | None = None
    mask_ap: Bound | None = None
    box_ap50: Bound | None = None
    mask_ap50: Bound | None = None
    box_ap75: Bound | None = None
    mask_ap75: Bound | None = None
    loss: Bound | None = None
    memory_mb: Bound | None = None
    train_hours: Bound | None = None

    def bounds(self) -> dict[str, Bound]:
        """The hard bounds that were given, by the name of the cost that they limit."""
        return {name: bound for name, bound in self._given().items() if name in _HARD}

    def soft(self) -> dict[str, Bound]:
        """The bounds on measured figures that were given, by name."""
        return {name: bound for name, bound in self._given().items() if name not in _HARD}

    def _given(self) -> dict[str, Bound]:
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: bound for name, bound in named.items() if bound is not None}


class Budget(Value):
    """When the search starts no more candidates: whichever comes first, over all resumes.

    trials: proposals, at however many rungs each is trained. hours: wall-clock of the search;
    gpu_hours: summed over all trainings, by the GPU share of each. The final retraining is no
    trial; of hours and GPU hours the search leaves it what it will take.
    """

    trials: PositiveInt | None = None
    hours: PositiveFloat | None = None
    gpu_hours: PositiveFloat | None = None

    @model_validator(mode="after")
    def _some_end(self) -> Budget:
        if self.trials is None and self.hours is None and self.gpu_hours is None:
            raise ValueError("give at least one of trials, hours, gpu_hours")
        return self


class Halving(Value):
    """How a study of several rungs spends its compute (successive halving).

    shares: of the compute, a number a rung, the lowest first, 1 in total; None: each rung gets 0.3
    of what it and those above it get (two rungs: 0.3 and 0.7). They and what a training costs at
    each rung decide how many candidates go on.
    """

    shares: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _sum_to_one(self) -> Halving:
        if self.shares is not None and abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares must be 1 in total, got {sum(self.shares):g}")
        return self

    def rates(self, works: Sequence[float]) -> tuple[float, ...]:
        """Of each rung but the top: the part of its candidates that go on, at most 1.

        works: what a training costs at each rung, the lowest first, in any unit. A rung with share
        s and work w sees s / w candidates for each unit of compute.
        """
        below = len(works) - 1
        shares = self.shares or (*(0.3 * 0.7**rung for rung in range(below)), 0.7**below)
        seen = [share / work for share, work in zip(shares, works, strict=True)]
        return tuple(min(1.0, high / low) for low, high in itertools.pairwise(seen))


class Final(Value):
    """At the end of the search its best are trained again before the front is declared.

    retrain: so many candidates, the front first. seeds: how often each, with a fresh seed every
    time; the front's values are the means over these, without the score that chose them.
    """

    retrain: PositiveInt
    seeds: PositiveInt = 3


class Resources(Value):
    """What one candidate gets, how many run at once; None: fitted to the nodes that there are.

    concurrent: None: as many as find room, more and fewer as nodes come and go.
    custom: Ray's custom resources by name, `{a100: 1}`: only nodes that have them train candidates.
    loader_workers: processes that load images for one candidate (0: in its own process).
    retries: how often a candidate whose process died is tried again; deaths of whole nodes do not
        count.
    nodes: `fixed`: where no node can give all this, the study is refused; `elastic`: it waits for
        nodes that can, as an autoscaler makes them; then cpus, gpus and concurrent, the most to
        ask for, must be given, since there is nothing to fit them to.
    """

    concurrent: PositiveInt | None = None
    cpus: PositiveFloat | None = None
    gpus: float | None = Field(default=None, ge=0)
    custom: dict[str, PositiveFloat] = Field(default_factory=dict)
    loader_workers: int | None = Field(default=None, ge=0)
    retries: int = Field(default=1, ge=0)
    nodes: Literal["fixed", "elastic"] = "fixed"

    @model_validator(mode="after")
    def _can_be_given(self) -> Resources:
        if self.gpus is not None and self.gpus > 1 and self.gpus % 1:  # Ray has no such share
            raise ValueError(f"gpus: above 1 whole ones, got {self.gpus:g}")
        known = {"cpu": "cpus", "gpu": "gpus"}
        for name in self.custom:
            if name.lower() in known:
                raise ValueError(f"custom.{name}: that is resources.{known[name.lower()]}")
        if self.nodes == "elastic" and None in (self.concurrent, self.cpus, self.gpus):
            raise ValueError("nodes: elastic needs concurrent, cpus and gpus")
        return self


class Latency(Value):
    """Where latency_ms comes from: a table's file (`hybridnas latency`), and what it is.

    sha256: of the file; setting: device, dtype, batch, mode and size in words. Both are filled in
    when the study is planned, and kept with it.
    """

    file: str
    sha256: str = ""
    setting: str = ""
