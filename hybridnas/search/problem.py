"""What is searched, and by which rules: all that the search core knows of a study."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..config import Bound, Budget, Final, Sampler
from ..objectives import CLOSED_FORM, OF_THE_STUDY, Direction, measured_first
from ..space import Genome
from ..store import Evaluation
from .feasibility import Costs, Feasibility


class Terms(typing.Protocol):
    """What an evaluation is made under, its score's whole meaning; of a study, its Protocol.

    digest: equal exactly where two scores mean the same.
    """

    @property
    def seed(self) -> int: ...

    @property
    def digest(self) -> str: ...

    def to_json(self) -> str: ...


@dataclass(frozen=True)
class Problem:
    """A space, what is known of it in closed form, and how it is evaluated; nothing of vision.

    feasibility: the space, its hard constraints and costs.
    objectives: in the order of their values; those in objectives.CLOSED_FORM are costs, every
        other one is measured.
    soft: bounds on what an evaluation measures, by name; who breaks one is on no front.
    terms: of an evaluation at a rung (0: the lowest) and repeat (0: the search's own seed; 1, 2,
        ...: fresh ones of the final retraining).
    rates: of each rung but the top one, the part of its candidates that go on; none: one rung.
    seed: of the proposals.
    references: tried first, and at every rung.
    recorded: the costs of a genome at a rung as its evaluation is to hold them; None: cost_of.
    """

    name: str
    feasibility: Feasibility
    objectives: Mapping[str, Direction]
    terms: Callable[[int, int], Terms]
    budget: Budget
    soft: Mapping[str, Bound] = field(default_factory=dict)
    rates: Sequence[float] = ()
    final: Final | None = None
    sampler: Sampler = field(default_factory=Sampler)
    seed: int = 0
    references: Sequence[Genome] = ()
    recorded: Callable[[Genome, int], Costs] | None = None

    @property
    def top(self) -> int:
        """The rung whose scores count."""
        return len(self.rates)

    @property
    def measured(self) -> list[str]:
        """The objectives that an evaluation measures."""
        return [name for name in self.objectives if name not in CLOSED_FORM]

    def stage(self, rung: int, repeat: int) -> str:
        """Which run of a trial this is, in words; empty where there is only one."""
        if repeat and self.final is not None:
            return f"seed {repeat} of {self.final.seeds}"
        return f"rung {rung + 1} of {self.top + 1}" if self.top else ""

    @property
    def figures(self) -> list[str]:
        """All that an evaluation must have measured: objectives, and what soft bounds are on."""
        return self.measured + [name for name in self.soft if name not in self.objectives]

    def values(self, evaluation: Evaluation, costs: Costs) -> tuple[float, ...] | None:
        """The objectives' values, of an evaluation and of the costs; None where one has no number,
        or a figure that a soft bound is on has none."""
        if any(evaluation.figure(name) is None for name in self.figures):
            return None
        found = [
            costs.get(name) if name in CLOSED_FORM else evaluation.figure(name)
            for name in self.objectives
        ]
        return tuple(v for v in found if v is not None) if None not in found else None

    def is_kept(self, evaluation: Evaluation) -> bool:
        """Whether an evaluation that has values keeps the soft bounds."""
        return all(excess <= 0 for excess in self._excesses(evaluation))

    def slacks(self, evaluation: Evaluation, costs: Costs) -> list[float] | None:
        """All constraints of an evaluation that has values, hard ones first, as numbers that must
        not be positive; of soft ones Bound.excess. None without soft ones: nothing is new then."""
        if not self.soft:
            return None
        return [*self.feasibility.slacks(costs), *self._excesses(evaluation)]

    def _excesses(self, evaluation: Evaluation) -> list[float]:
        found = [(evaluation.figure(name), bound) for name, bound in self.soft.items()]
        return [excess for v, bound in found if v is not None for excess in bound.excess(v)]

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """The same with signs such that lower is better, and the measured ones first."""
        named = zip(self.objectives.items(), values, strict=True)
        signed = {name: v if way == "minimize" else -v for (name, way), v in named}
        return tuple(signed[name] for name in measured_first(self.objectives))

    def recorded_costs(self, genome: Genome, costs: Costs, rung: int) -> Costs:
        """What an evaluation at a rung is to hold of a genome with these costs."""
        found = costs if self.recorded is None else self.recorded(genome, rung)
        return {name: value for name, value in found.items() if name not in OF_THE_STUDY}

    def size(self, costs: Costs) -> float:
        """What small and large mean: MACs where they are known, else the first cost that is."""
        return float(costs.get("macs", next(iter(costs.values()), 0.0)))
