"""A made-up truth about mixers, and ablations under it without any training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import search_helpers as helpers

from hybridnas.ablate.setup import Setup, ablation_study, setup_of
from hybridnas.ablate.twins import StageMixer, places_in, twins_of
from hybridnas.architecture import Architecture
from hybridnas.config import Fidelity, parse_study
from hybridnas.search.observer import Candidate
from hybridnas.search.trainings import Trainings
from hybridnas.space import SearchSpace
from hybridnas.store import Evaluation, Store

# Three stages whose mixers can be told apart: S1-G1-S1A1.
MIXED: dict[str, Any] = {
    **helpers.COMMON,
    "name": "mixed",
    "stages": [
        {"depth": 1, "width": [16, 32], "mixer": "ssm"},
        {"depth": 1, "width": 32, "mixer": "gated_conv"},
        {"depth": 2, "width": 48, "mixer": "ssm", "second_half": "attention"},
    ],
}
TRUTH: Mapping[StageMixer, float] = {
    StageMixer(1, "ssm"): 0.05,
    StageMixer(3, "ssm"): 0.0,
    StageMixer(3, "attention"): -0.04,
}
SEED_SD, NOISE = 0.03, 0.004


def score(architecture: Architecture, seed: int) -> float:
    """The truth about the mixers, how lucky the seed is, and noise."""
    luck = np.random.default_rng(seed).normal(0, SEED_SD)
    own = np.random.default_rng([seed, int(architecture.digest, 16)]).normal(0, NOISE)
    gains = sum(TRUTH.get(place, 0.0) for place in places_in(architecture))
    return float(0.7 + gains + luck + own)


def evaluation(candidate: Candidate, **changes: Any) -> Evaluation:
    """What a worker would have recorded, after twelve seconds."""
    top1 = score(helpers.network(candidate), candidate.protocol.seed)
    own: dict[str, Any] = {
        "metrics": {"top1": top1, "loss": 1 - top1, **candidate.recorded},
        "timing": {"total_s": 12.0, "gpu_s": 0.0},
        "ended_at": helpers.START,
    }
    return helpers.result(candidate, **(own | changes))


def set_up_of(seeds: int = 5, together: bool = False, **changes: Any) -> Setup:
    """Twins of the first architecture of MIXED, of `study` changed so, without a look at data."""
    raw = {**helpers.RAW, "space": MIXED, **changes}
    study = parse_study(raw, "test")
    original = SearchSpace.load(MIXED).decode({})
    twins = twins_of(original, (32, 32), together=together)
    fidelity: Fidelity = study.fidelity
    own = ablation_study(study, "17", fidelity, (1 + len(twins)) * seeds)
    return setup_of(helpers.plan_of(own), original, twins, seeds)


def begin(store: Store, setup: Setup) -> Trainings:
    plan = setup.plan
    store.put_study(plan.study.name, plan.config)
    return Trainings(plan.study, store, setup.jobs)


def drive(work: Trainings) -> list[Candidate]:
    """Does all that is left; the candidates in turn."""
    candidates = []
    while (candidate := work.ask()) is not None:
        candidates.append(candidate)
        work.store.record(candidate.token, evaluation(candidate))
        work.settle(candidate.number)
    return candidates
