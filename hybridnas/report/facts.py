"""All that a report says, as one value: what is not in it no report can say.

Scores, costs and their units are those of objectives; times are in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal["front", "dominated", "infeasible"]
ErrorKind = Literal["standard_error", "standard_deviation"]


class Fact(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class StageFact(Fact):
    """mixers: as Stage.short. macs_share: of the whole network's."""

    stage: int
    mixers: str
    width: int
    tokens: int
    long_sequence_ratio: float
    macs_share: float


class ResultFact(Fact):
    """A trial's result. errors: of its scores, where they are known (ReportFacts.error_kind).
    published: the reference architecture that it is."""

    trial: int
    arch: str
    stages: str
    published: str | None
    values: dict[str, float]
    errors: dict[str, float]
    seeds: int
    params: float | None
    reused: bool


class MemberFact(ResultFact):
    """A member of the front."""

    layout: tuple[StageFact, ...]
    network: dict[str, Any]


class CandidateFact(Fact):
    """A point of the plots: every result of the search."""

    trial: int
    kind: Kind
    published: str | None
    cost: float
    scores: dict[str, float]


class LeaderFact(Fact):
    """Who is best in the first score.

    gap: to the best of the others, and the half width of its 95 % interval; clear: it leaves out
    0. None where no error is known. thrifty: the cheapest member of the front whose interval holds
    0, and its part of the leader's cost.
    """

    trial: int
    runner_up: int | None
    gap: float | None
    half_width: float | None
    clear: bool | None
    thrifty: int | None
    thrifty_cost_share: float | None


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


class ImportanceFact(Fact):
    decision: str
    share: float


class EffectFact(Fact):
    """As ChoiceEffect. clear: also among all effects of the score, by Bonferroni."""

    decision: str
    choice: str
    value: float
    low: float
    high: float
    p: float
    trials: int
    clear: bool


class DecisionFacts(Fact):
    """best_share: the part of the trials that the importances are about. confidence: of each
    effect's interval."""

    score: str
    trials: int
    best_share: float
    confidence: float
    importances: tuple[ImportanceFact, ...]
    effects: tuple[EffectFact, ...]


class MixerFact(Fact):
    """The share of a stage's blocks with a mixer: on the front, and in all results."""

    stage: int
    mixer: str
    front: float
    results: float


class TwinFact(Fact):
    """An architecture against its twin without some mixers, at equal MACs.

    ratios: L / 6D of the stages. macs_difference: of the twin's, a share of the original's. value,
    low, high: how much better the original scores, with its interval; None: not known. words: that
    in a sentence.
    """

    label: str
    stages: str
    metric: str
    fidelity: str
    replaced: str
    ratios: tuple[float, ...]
    macs_difference: float
    value: float | None
    low: float | None
    high: float | None
    seeds: int
    verdict: str
    words: str


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
    at equal MACs, and that of MACs alone. None: all scores of one side were equal."""

    against: str
    longer: bool
    architectures: int
    overall: TauFact | None
    equal_macs: TauFact | None
    macs: TauFact | None


class ProtocolFact(Fact):
    """What evaluations were made under; those that differ in their seed alone are one."""

    task: str
    kind: str
    data: str
    num_classes: int
    fidelity: str
    init: str
    recipe: dict[str, Any]
    seeds: tuple[int, ...]
    digests: tuple[str, ...]
    runs: int


class SoftwareFact(Fact):
    """Versions and machine of so many evaluations."""

    versions: dict[str, str]
    git_commit: str | None
    device: str | None
    hosts: tuple[str, ...]
    evaluations: int


class BoundFact(Fact):
    name: str
    min: float | None
    max: float | None
    hard: bool


class ReportFacts(Fact):
    """A study at one moment.

    score: the objective that "best" means; cost: what plots have across. sizes: of the images that
    MACs are counted for. error_kind: of the errors of results. space_size: architectures.
    """

    study: str
    description: str
    read_at: datetime
    hybridnas: str | None
    task: str
    score: str
    cost: str
    sizes: str
    objectives: dict[str, str]
    bounds: tuple[BoundFact, ...]
    space: str
    space_size: int
    num_decisions: int
    sampler: str
    budget: dict[str, float]
    trials: dict[str, int]
    results: int
    infeasible: int
    retrained: int
    error_kind: ErrorKind
    ended: str | None
    alive: bool
    hypervolume: float | None
    leader: LeaderFact | None
    front: tuple[MemberFact, ...]
    references: tuple[ResultFact, ...]
    others: tuple[ResultFact, ...]
    candidates: tuple[CandidateFact, ...]
    decisions: tuple[DecisionFacts, ...]
    mixers: tuple[MixerFact, ...]
    twins: tuple[TwinFact, ...]
    moments: tuple[MomentFact, ...]
    rungs: tuple[RungFact, ...]
    runs: int
    reused: int
    proposals: int
    redrawn: int
    failures: tuple[FailureFact, ...]
    cost_so_far: CostFact
    sessions: tuple[SessionFact, ...]
    calibrations: tuple[CalibrationFact, ...]
    protocols: tuple[ProtocolFact, ...]
    software: tuple[SoftwareFact, ...]
    yaml: str

    def result(self, trial: int) -> ResultFact:
        """Of a trial that the report names."""
        every = (*self.front, *self.references, *self.others)
        return next(result for result in every if result.trial == trial)
