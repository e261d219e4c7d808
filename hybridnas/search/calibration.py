"""How well a cheap training ranks architectures as a dear one does: what to train, and the answer.

A calibration is work for the same engine as a search: each training is an evaluation under its
own protocol, which a later search looks up, as a calibration does with what is known already. Its
leases belong to a study of their own, `NAME.calibration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..architecture import Architecture
from ..config import CALIBRATION, LONGEST_NAME, Fidelity, Protocol, Study
from ..errors import ConfigError
from ..rank_correlation import FEWEST
from ..store import Evaluation, Store
from .agreement import Judged, agreement
from .plan import Plan, counted_costs, feasibility, rung_protocol
from .strata import stratified
from .trainings import Job, scored
from .words import fidelity_words


@dataclass(frozen=True, slots=True)
class Setting:
    """archs architectures, each trained with so many seeds at both fidelities."""

    archs: int
    seeds: int
    proxy: Fidelity
    judge: Fidelity

    def as_json(self, metric: str) -> dict[str, object]:
        rungs = {"proxy": self.proxy.model_dump(), "judge": self.judge.model_dump()}
        return {"archs": self.archs, "seeds": self.seeds, "metric": metric, **rungs}


def calibration_study(study: Study, setting: Setting) -> Study:
    """The study that the leases of a study's calibration belong to.

    Its ladder is the study's, so that limits hold where the study counts costs; a judge that is no
    rung comes on top. Raises ConfigError for a name that leaves no room for the suffix.
    """
    name, rungs = study.name.removesuffix(CALIBRATION), study.fidelities
    if len(name + CALIBRATION) > LONGEST_NAME:
        raise ConfigError(
            f"a calibration is kept under its study's name and {CALIBRATION!r}, so the name may "
            f"have {LONGEST_NAME - len(CALIBRATION)} characters; {name!r} has {len(name)} "
            f"(--set name=...)"
        )
    return Study.model_validate(
        {
            **study.alone("").model_dump(),
            "name": name + CALIBRATION,
            "description": f"calibration of {name}",
            "fidelities": rungs if setting.judge in rungs else (*rungs, setting.judge),
            "halving": {},
            "budget": {"trials": 2 * setting.archs * setting.seeds},
            "references": (),
        }
    )


class Calibration:
    """What a calibration trains, and what came of it."""

    def __init__(self, plan: Plan, setting: Setting) -> None:
        """plan: of the calibration's study (`calibration_study`)."""
        self.study, self.setting = plan.study, setting
        hard = feasibility(plan)
        genomes = stratified(hard, setting.archs, plan.study.seed)
        self.members = [(plan.space.decode(genome), hard.cost_of(genome)) for genome in genomes]
        seeds = [plan.study.seed + i for i in range(setting.seeds)]
        self.proxies, self.judges = (
            [rung_protocol(plan, fidelity, seed) for seed in seeds]
            for fidelity in (setting.proxy, setting.judge)
        )
        self.jobs = [
            Job(
                architecture,
                architecture.digest,
                protocol,
                {**costs, **counted},
                _stage(protocol, setting),
            )
            # The dearest first, so that the last ones end at about the same time.
            for architecture, costs in reversed(self.members)
            for protocols in (self.judges, self.proxies)
            # Of an evaluation's own resolution, which a later search at that fidelity reads.
            for counted in [counted_costs(plan, architecture, protocols[0].fidelity.resolution)]
            for protocol in protocols
        ]

    def result(self, store: Store) -> dict[str, Any]:
        """What `agreement` finds, and how many architectures failed.

        Raises ConfigError where too few architectures have scores on both sides.
        """
        found = []
        for architecture, costs in self.members:
            proxy = self._evaluations(store, architecture, self.proxies)
            judge = self._evaluations(store, architecture, self.judges)
            if proxy is not None and judge is not None:
                found.append(Judged(architecture, costs, proxy, judge))
        failed = len(self.members) - len(found)
        if len(found) < FEWEST:
            raise ConfigError(
                f"{failed} of {len(self.members)} architectures failed to train at one of the "
                f"fidelities: too few are left for a rank correlation"
            )
        return {"failed": failed, **agreement(found, self.study.measured)}

    def _evaluations(
        self, store: Store, architecture: Architecture, protocols: list[Protocol]
    ) -> list[Evaluation] | None:
        """An architecture's, one a seed; None where one has no score."""
        keys = [(architecture.digest, protocol.digest) for protocol in protocols]
        found = [scored(store, key, self.study.measured) for key in keys]
        good = [evaluation for evaluation in found if evaluation is not None]
        return good if len(good) == len(protocols) else None


def _stage(protocol: Protocol, setting: Setting) -> str:
    """`4 epochs at 32 px, seed 1`: which of an architecture's trainings it is."""
    seed = f", seed {protocol.seed}" if setting.seeds > 1 else ""
    return fidelity_words(protocol.fidelity) + seed
