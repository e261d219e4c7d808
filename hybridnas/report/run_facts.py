"""What a report says of how a study ran. Times are in UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RungFact(Fact):
    """Trainings at one rung of the ladder, of one task; the final retraining has repeats."""

    task: str
    fidelity: str
    retraining: bool
    began: int
    ok: int
    failed: int
    reused: int
    gpu_hours: float


class FailureFact(Fact):
    reason: str
    number: int
    message: str | None


class SessionFact(Fact):
    host: str
    began: datetime
    hours: float
    ended: str | None
    proposals: int
    redrawn: int


class CostFact(Fact):
    """trainings: that ended here, those known before left aside. candidates_per_hour: trials that
    were trained and ended, by hours of search."""

    wall_hours: float
    gpu_hours: float
    trainings: int
    candidates_per_hour: float | None
    seconds_per_training: float | None


class MomentFact(Fact):
    """As search.progress.Moment."""

    trial: int
    results: int
    trainings: int
    hours: float
    gpu_hours: float
    hypervolume: float


class TauFact(Fact):
    tau: float
    low: float
    high: float


class CalibrationFact(Fact):
    """The search's own training against another: the rank correlation of their scores, overall and
    at equal MACs, and those of parameters and of MACs alone. None: all scores of one side were
    equal."""

    against: str
    longer: bool
    architectures: int
    overall: TauFact | None
    equal_macs: TauFact | None
    params: TauFact | None
    macs: TauFact | None

    @property
    def counting_ranks_as_well(self) -> bool:
        """The better of the two that need no training has a tau no lower than the training's."""
        counted = [found.tau for found in (self.params, self.macs) if found]
        return self.overall is not None and max(counted, default=-1.0) >= self.overall.tau


class ProtocolFact(Fact):
    """What evaluations were made under; those that differ in their seed alone are one. train, val:
    the splits trained on and scored on. num_images: that scores are of, None where no evaluation
    says; train_images: that are trained on in an epoch, where a curve of losses says. unreadable,
    train_unreadable: besides those, what was passed over of val and of train, since it could not be
    read. optimizer: by name; its settings are the recipe's."""

    task: str
    kind: str
    data: str
    train: str
    val: str
    num_classes: int
    num_images: int | None
    train_images: int | None
    unreadable: int
    train_unreadable: int
    fidelity: str
    init: str
    optimizer: str
    recipe: dict[str, Any]
    seeds: tuple[int, ...]
    digests: tuple[str, ...]
    runs: int


class SoftwareFact(Fact):
    """Versions and machine of so many evaluations. git_commit: of the checkout that made them; None
    where it is not known."""

    versions: dict[str, str]
    git_commit: str | None
    device: str | None
    hosts: tuple[str, ...]
    evaluations: int
