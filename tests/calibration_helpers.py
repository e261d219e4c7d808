"""Calibrations without training: made-up scores, recorded as a worker records them."""

from __future__ import annotations

from typing import Any

import search_helpers as helpers

from hybridnas.config import Fidelity, parse_study
from hybridnas.search.calibration import Calibration, Setting, calibration_study
from hybridnas.search.observer import Candidate, Observer
from hybridnas.search.plan import Plan
from hybridnas.search.trainings import Trainings
from hybridnas.store import Evaluation, Store

SHORT, LONG = Fidelity(epochs=1, resolution=32), Fidelity(epochs=4, resolution=32)
RAW: dict[str, Any] = {
    **helpers.RAW,
    "space": helpers.LISTED,
    "fidelities": [SHORT.model_dump(), LONG.model_dump()],
}


def calibration_plan(setting: Setting, **changes: Any) -> Plan:
    return helpers.plan_of(calibration_study(parse_study({**RAW, **changes}, "test"), setting))


def planned(store: Store, archs: int = 8, seeds: int = 1) -> Calibration:
    """A calibration, its study put into the store."""
    setting = Setting(archs, seeds, SHORT, LONG)
    plan = calibration_plan(setting)
    store.put_study(plan.study.name, plan.config)
    return Calibration(plan, setting)


def work(store: Store, calibration: Calibration, observer: Observer | None = None) -> Trainings:
    """Its trainings, as they are left."""
    return Trainings(calibration.study, store, calibration.jobs, observer)


def score(candidate: Candidate) -> float:
    """Long trainings tell the truth, short ones see MACs alone; seeds differ a little."""
    truth = helpers.score(helpers.network(candidate))
    if helpers.protocol(candidate).fidelity == SHORT:
        truth = 1 - 1 / (1 + candidate.costs["macs"] / 1e6)
    return truth + 1e-6 * candidate.protocol.seed


def evaluation(candidate: Candidate, **changes: Any) -> Evaluation:
    """What a worker would have recorded: a second of training for an epoch."""
    own: dict[str, Any] = {
        "metrics": {"top1": score(candidate), **candidate.costs},
        "timing": {"total_s": float(helpers.protocol(candidate).fidelity.epochs)},
        "ended_at": helpers.START,
    }
    return helpers.result(candidate, **(own | changes))


def asked(work: Trainings) -> Candidate:
    candidate = work.ask()
    assert candidate is not None, work.stop_reason
    return candidate


def finish(work: Trainings, candidate: Candidate, **changes: Any) -> str | None:
    """Records a training's result and settles it; the reason of a failure."""
    written = work.store.record(candidate.token, evaluation(candidate, **changes))
    assert written is not None, "the candidate holds no lease"
    return work.settle(candidate.number)


def drive(work: Trainings) -> list[Candidate]:
    """Asks and finishes until nothing is left; the candidates in turn."""
    candidates = []
    while (candidate := work.ask()) is not None:
        candidates.append(candidate)
        finish(work, candidate)
    return candidates
