"""Small studies, made-up results, and a loop that drives a search without training anything."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from hybridnas.architecture import Architecture
from hybridnas.config import Bound, Protocol, Study, parse_study
from hybridnas.cost import cost
from hybridnas.search.core import SearchCore
from hybridnas.search.feasibility import Feasibility
from hybridnas.search.fresh import Proposal
from hybridnas.search.ladder import problem_of
from hybridnas.search.observer import Candidate, Finished, Observer
from hybridnas.search.plan import Plan
from hybridnas.space import Genome, SearchSpace
from hybridnas.store import Evaluation, Store

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BLOCKS = {
    "gated_conv": {"form": "gated"},
    "ssm": {"form": "gated", "conv_ratio": 0.5},
    "attention": {"form": "metaformer", "expansion": None, "head_dim": 4},
}
COMMON = {"input_size": 32, "head": "linear", "blocks": BLOCKS}
# One stage: 2 widths x 3 mixers, so 6 architectures.
SIX: dict[str, Any] = {
    **COMMON,
    "name": "six",
    "stages": [{"depth": 1, "width": [8, 16], "mixer": ["gated_conv", "ssm", "attention"]}],
}
# Two stages of 3 depths x 3 widths x 3 mixers with a kernel: 2916 genomes, few enough to list.
LISTED: dict[str, Any] = {
    **COMMON,
    "name": "listed",
    "stages": [
        {"depth": [1, 2, 3], "width": [8, 16, 32], "mixer": ["gated_conv", "ssm", "attention"]}
    ]
    * 2,
    "options": {"kernel": {"values": [3, 5]}},
}
RAW: dict[str, Any] = {
    "name": "shapes",
    "space": SIX,
    "fidelities": [{"epochs": 1, "resolution": 32}],
    "sampler": "random",
    "budget": {"trials": 6},
}


def plan(**changes: Any) -> Plan:
    """A plan as `make_plan` makes it, without a look at data."""
    return plan_of(parse_study({**RAW, **changes}, "test"))


def plan_of(study: Study) -> Plan:
    """The same of a study of the digits."""
    protocol = study.protocol("0123456789ab", tuple("0123456789"))
    images = {f.share: round(1000 * f.share) for f in study.fidelities}
    return Plan(study, SearchSpace.load(study.space), protocol, images)


def genomes(space: SearchSpace) -> Iterator[Genome]:
    """Every genome of a small space."""
    for values in itertools.product(*space.genes.values()):
        yield dict(zip(space.genes, values, strict=True))


def constrained(space: SearchSpace, **bounds: Bound) -> Feasibility:
    """Bounds over macs and params, counted at 32 px and 10 classes."""

    def cost_of(genome: Genome) -> dict[str, float]:
        known = cost(space.decode(genome), 32, num_classes=10)
        return {"macs": known.macs, "params": known.params}

    return Feasibility(space, bounds, cost_of)


def network(of: Candidate | Proposal) -> Architecture:
    """What is to be evaluated: of a search space, an architecture."""
    assert isinstance(of.architecture, Architecture)
    return of.architecture


def protocol(of: Candidate) -> Protocol:
    """What a candidate of a study is to be evaluated under."""
    assert isinstance(of.protocol, Protocol)
    return of.protocol


def score(architecture: Architecture) -> float:
    """A made-up accuracy: more blocks and more SSM are better, with some noise."""
    blocks = [block for stage in architecture.stages for block in stage.blocks]
    ssm = sum(block.mixer_name == "ssm" for block in blocks)
    noise = int(architecture.digest, 16) / 16**12
    return 1 - 1 / (2 + len(blocks) + ssm + noise)


def result(candidate: Candidate, **changes: Any) -> Evaluation:
    """What a worker would have recorded of a candidate, after a minute on a GPU of its own."""
    good = Evaluation(
        architecture_digest=candidate.digest,
        protocol_digest=candidate.protocol.digest,
        status="ok",
        seed=candidate.protocol.seed,
        started_at=START,
        ended_at=START + timedelta(minutes=1),
        metrics={"top1": score(network(candidate)), "top5": 0.9, **candidate.recorded},
        timing={"total_s": 60.0, "gpu_s": 60.0},
        machine={"device": "cpu"},
    )
    return replace(good, **changes)


FAILED: dict[str, Any] = {
    "status": "failed",
    "reason": "out_of_memory",
    "message": "no room",
    "metrics": {},
}


def start(plan: Plan, store: Store, observer: Observer | None = None) -> SearchCore:
    store.put_study(plan.study.name, plan.config)
    return SearchCore(problem_of(plan), store, observer)


def asked(core: SearchCore) -> Candidate:
    candidate = core.ask()
    assert candidate is not None, core.stop_reason
    return candidate


def finish(core: SearchCore, candidate: Candidate, **changes: Any) -> str | None:
    """Records a candidate's result and settles it; the reason of a failure."""
    written = core.store.record(candidate.token, result(candidate, **changes))
    assert written is not None, "the candidate holds no lease"
    return core.settle(candidate.number)


def drive(core: SearchCore) -> list[Candidate]:
    """Asks and finishes until nothing is left; the candidates in turn."""
    candidates = []
    while (candidate := core.ask()) is not None:
        candidates.append(candidate)
        finish(core, candidate)
    return candidates


def optuna_trials(store: Store, study: str = RAW["name"]) -> list[FrozenTrial]:
    """A study's trials as Optuna's tables hold them."""
    return optuna.load_study(study_name=study, storage=store.optuna_storage()).trials


class Notes:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.done_before: int | None = None
        self.began_numbers: list[int] = []
        self.results: list[Finished] = []

    def began(self, done: int) -> None:
        self.done_before = done

    def started(self, candidate: Candidate) -> None:
        self.began_numbers.append(candidate.number)

    def epoch(self, number: int, done: int, total: int, loss: float, where: str) -> None: ...

    def finished(self, result: Finished) -> None:
        self.results.append(result)

    def note(self, text: str) -> None: ...
