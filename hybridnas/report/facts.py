"""All that a report says, as one value: what is not in it no report can say.

Scores, costs and their units are those of objectives; times are in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ..search.rows import ErrorKind
from .run_facts import (
    CalibrationFact,
    CostFact,
    Fact,
    FailureFact,
    MomentFact,
    ProtocolFact,
    RungFact,
    SessionFact,
    SoftwareFact,
)

Kind = Literal["front", "dominated", "infeasible"]


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


class FreshFact(Fact):
    """What an architecture scores under the search's own training with seeds that it was not chosen
    by: the mean over `seeds` of them, with Student's t interval from low to high, and the standard
    deviation (None: of one seed). gap: by how much the mean is worse than the score it was chosen
    for; below 0: better."""

    mean: float
    low: float | None
    high: float | None
    spread: float | None
    seeds: int
    gap: float


class FreshGapFact(Fact):
    """The leader's mean with fresh seeds against the next best. apart: how far one is from the
    other; leads: the leader's is the better one. low, high: the interval of how much better the
    leader's is, and clear: it leaves out 0; None where the next best's score is of one training,
    or the error of a mean is not known."""

    apart: float
    leads: bool
    low: float | None
    high: float | None
    clear: bool | None


class LeaderFact(Fact):
    """Who is best in the first score.

    gap: to the best of the others, with its 95 % interval; clear: that leaves out 0. None where no
    error is known. thrifty: the cheapest member of the front whose interval holds 0, and its part
    of the leader's cost. All these are by the scores that the search chose by. fresh: of its twin
    test; None: there is none, or a final retraining, whose scores are all of fresh seeds.
    runner_up_fresh: of that of the best of the others; fresh_gap: between the two, by such means
    as far as they are known; None without the leader's. chosen_for, fell: after a final retraining
    the score that the search chose it by, and by how much its mean is worse. once: of the front's
    other members so many have no fresh seeds. kept: its weights are, of the score's task; unseen:
    then the command that scores it, once exported, on images that it was not chosen by; None: the
    data have none.
    """

    trial: int
    fresh: FreshFact | None
    kept: bool
    unseen: str | None
    runner_up: int | None
    gap: float | None
    gap_low: float | None
    gap_high: float | None
    clear: bool | None
    runner_up_fresh: FreshFact | None
    fresh_gap: FreshGapFact | None
    chosen_for: float | None
    fell: float | None
    once: int
    thrifty: int | None
    thrifty_cost_share: float | None


class ImportanceFact(Fact):
    """error: the standard error of the share. clear: its 95 % interval leaves out 0."""

    decision: str
    share: float
    error: float
    clear: bool


class ChoiceFact(Fact):
    """How many trials made a choice."""

    decision: str
    choice: str
    trials: int


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
    """best_share: the part of the trials that the importances are about; parts: of the trials, so
    many, that their errors are from. confidence: of each effect's interval. judged: decisions that
    effects are told of, a stage's two mixers being one; unjudged: the others; clear: those that
    have a clear effect, the surest first. rare: choices of fewer than `fewest` trials, untold:
    others of which no effect can be told."""

    score: str
    trials: int
    best_share: float
    confidence: float
    importances: tuple[ImportanceFact, ...]
    parts: int
    effects: tuple[EffectFact, ...]
    judged: int
    unjudged: int
    clear: tuple[str, ...]
    fewest: int
    rare: tuple[ChoiceFact, ...]
    untold: tuple[ChoiceFact, ...]


class MixerFact(Fact):
    """The share of a stage's blocks with a mixer, on average over the front and over all results;
    and how many of these have it in that stage."""

    stage: int
    mixer: str
    front: float
    results: float
    front_with: int
    results_with: int


class TwinFact(Fact):
    """An architecture against its twin without some mixers, at equal MACs.

    subject: the architecture as people call it. ratios: L / 6D of the stages. macs_difference: of
    the twin's, a share of the original's. value, low, high: how much better the original scores,
    with its interval; None: not known. words: that in a sentence. command: what tests a
    trial so in another database, all its mixers; None of what is no trial, and of other trainings
    than the search's.
    """

    subject: str
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
    command: str | None


class BoundFact(Fact):
    name: str
    min: float | None
    max: float | None
    hard: bool


class ReportFacts(Fact):
    """A study at one moment.

    score: the objective that "best" means; split: of the data, that it is counted on and that the
    search chose by. cost: what plots have across. sizes: of the images that MACs are counted for.
    error_kind: of the errors of results. space_size: architectures. reference, ideal: the corners
    of the box that hypervolumes are shares of, by objective. yaml: of the study, without what is
    the default of this version. calibrate: the command that would judge its training; None in a
    space too small for it.
    """

    study: str
    description: str
    read_at: datetime
    hybridnas: str
    task: str
    score: str
    split: str
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
    reference: dict[str, float]
    ideal: dict[str, float]
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
    calibrate: str | None
    protocols: tuple[ProtocolFact, ...]
    software: tuple[SoftwareFact, ...]
    yaml: str

    def result(self, trial: int) -> ResultFact:
        """Of a trial that the report names."""
        every = (*self.front, *self.references, *self.others)
        return next(result for result in every if result.trial == trial)
