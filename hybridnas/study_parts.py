"""What a study may spend, and must keep: parts of its YAML, as frozen values."""

from __future__ import annotations

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from .recipe import Value


class Bound(Value):
    """What a candidate must keep; decided in closed form before training, never violated."""

    min: float | None = Field(default=None, ge=0)
    max: PositiveFloat | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Bound:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class Constraints(Value):
    macs: Bound | None = None
    params: Bound | None = None
    latency_ms: Bound | None = None

    def bounds(self) -> dict[str, Bound]:
        """The bounds that were given, by the name of the cost that they limit."""
        named = {"macs": self.macs, "params": self.params, "latency_ms": self.latency_ms}
        return {name: bound for name, bound in named.items() if bound is not None}


class Budget(Value):
    """When the search starts no more candidates: whichever comes first, over all resumes.

    hours: wall-clock of the search; gpu_hours: summed over candidates, by the GPU share of each.
    """

    trials: PositiveInt | None = None
    hours: PositiveFloat | None = None
    gpu_hours: PositiveFloat | None = None

    @model_validator(mode="after")
    def _some_end(self) -> Budget:
        if self.trials is None and self.hours is None and self.gpu_hours is None:
            raise ValueError("give at least one of trials, hours, gpu_hours")
        return self


class Resources(Value):
    """What one candidate gets, how many run at once; None: fitted to the machine.

    loader_workers: processes that load images for one candidate (0: in its own process).
    retries: how often a candidate whose process died is started again.
    """

    concurrent: PositiveInt | None = None
    cpus: PositiveFloat | None = None
    gpus: float | None = Field(default=None, ge=0)
    loader_workers: int | None = Field(default=None, ge=0)
    retries: int = Field(default=1, ge=0)


class Latency(Value):
    """Where latency_ms comes from: a table's file (`hybridnas latency`), and what it is.

    sha256: of the file; setting: device, dtype, batch, mode and size in words. Both are filled in
    when the study is planned, and kept with it.
    """

    file: str
    sha256: str = ""
    setting: str = ""
