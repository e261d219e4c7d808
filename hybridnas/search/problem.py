"""What is searched, and by which rules: all that the search core knows of a study."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..config import Bound, Budget, Final, Sampler
from ..objectives import OF_THE_STUDY, Direction, is_cost, measured_first, parted
from ..space import Genome
from ..store import Evaluation, Place
from .feasibility import Costs, Feasibility

Evaluations = Mapping[str, Evaluation]  # of one rung and repeat of a trial, by task


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
    objectives: in the order of their values; costs (objectives.is_cost), every other one is
        measured.
    soft: bounds on what an evaluation measures, by name; who breaks one is on no front.
    terms: of an evaluation; its repeat 0 has the search's own seed, others have fresh ones.
    tasks: by name, what a candidate is evaluated on at each rung, one after the other.
    rates: of each rung but the top one, the part of its candidates that go on; none: one rung.
    seed: of the proposals.
    references: tried first, and at every rung.
    recorded: the costs of a genome as an evaluation of it is to hold them; None: cost_of.
    """

    name: str
    feasibility: Feasibility
    objectives: Mapping[str, Direction]
    terms: Callable[[Place], Terms]
    budget: Budget
    tasks: Sequence[str] = ("",)
    soft: Mapping[str, Bound] = field(default_factory=dict)
    rates: Sequence[float] = ()
    final: Final | None = None
    sampler: Sampler = field(default_factory=Sampler)
    seed: int = 0
    references: Sequence[Genome] = ()
    recorded: Callable[[Genome, Place], Costs] | None = None

    @property
    def first(self) -> Place:
        """Where every trial begins."""
        return Place(task=self.tasks[0])

    @property
    def top(self) -> int:
        """The rung whose scores count."""
        return len(self.rates)

    @property
    def measured(self) -> list[str]:
        """The objectives that an evaluation measures."""
        return [name for name in self.objectives if not is_cost(name)]

    def stage(self, place: Place) -> str:
        """Which run of a trial this is, in words; empty where there is only one."""
        words = f"rung {place.rung + 1} of {self.top + 1}" if self.top else ""
        if place.repeat and self.final is not None:
            words = f"seed {place.repeat} of {self.final.seeds}"
        return ", ".join(filter(None, (words, place.task)))

    @property
    def figures(self) -> list[str]:
        """All that must have been measured: objectives, and what soft bounds are on."""
        return figures(self.objectives, self.soft)

    def figures_of(self, task: str) -> list[str]:
        """Of these, what an evaluation on a task must have measured, as it calls them."""
        return figures_of(self.figures, task)

    def is_scored(self, task: str, evaluation: Evaluation) -> bool:
        """Whether an evaluation on a task ended well and has a number for all that it must."""
        return is_scored(evaluation, self.figures_of(task))

    def values(self, found: Evaluations, costs: Costs) -> tuple[float, ...] | None:
        """The objectives' values, of evaluations and of the costs; None where one has no number,
        or a figure that a soft bound is on has none."""
        whole = found.keys() == {*self.tasks}
        if not (whole and all(self.is_scored(task, found[task]) for task in self.tasks)):
            return None
        values = [
            costs.get(name) if is_cost(name) else figure_of(found, name) for name in self.objectives
        ]
        return tuple(v for v in values if v is not None) if None not in values else None

    def is_kept(self, found: Evaluations) -> bool:
        """Whether evaluations that have values keep the soft bounds."""
        return all(excess <= 0 for excess in self._excesses(found))

    def slacks(self, found: Evaluations, costs: Costs) -> list[float] | None:
        """All constraints of evaluations that have values, hard ones first, as numbers that must
        not be positive; of soft ones Bound.excess. None without soft ones: nothing is new then."""
        if not self.soft:
            return None
        return [*self.feasibility.slacks(costs), *self._excesses(found)]

    def _excesses(self, found: Evaluations) -> list[float]:
        numbers = [(figure_of(found, name), bound) for name, bound in self.soft.items()]
        return [excess for v, bound in numbers if v is not None for excess in bound.excess(v)]

    def losses(self, values: Sequence[float]) -> tuple[float, ...]:
        """The same with signs such that lower is better, and the measured ones first."""
        named = zip(self.objectives.items(), values, strict=True)
        signed = {name: v if way == "minimize" else -v for (name, way), v in named}
        return tuple(signed[name] for name in measured_first(self.objectives))

    def recorded_costs(self, genome: Genome, costs: Costs, place: Place) -> Costs:
        """What an evaluation is to hold of a genome with these costs."""
        if self.recorded is not None:
            found = self.recorded(genome, place)
        else:
            split = [(*parted(name), value) for name, value in costs.items()]
            found = {own: value for task, own, value in split if task == place.task}
        return {name: value for name, value in found.items() if name not in OF_THE_STUDY}

    def size(self, costs: Costs) -> float:
        """What small and large mean: MACs where they are known, else the first cost that is."""
        return float(costs.get("macs", next(iter(costs.values()), 0.0)))


def figures(objectives: Iterable[str], soft: Iterable[str]) -> list[str]:
    """All that must have been measured: objectives, and what soft bounds are on."""
    measured = [name for name in objectives if not is_cost(name)]
    return [*dict.fromkeys((*measured, *soft))]


def figures_of(names: Iterable[str], task: str) -> list[str]:
    """Of these, what an evaluation on a task must have measured, as it calls them."""
    return [own for whose, own in map(parted, names) if whose == task]


def is_scored(evaluation: Evaluation, own: Iterable[str]) -> bool:
    """Whether an evaluation ended well and has a number for all of its own figures."""
    return evaluation.status == "ok" and None not in map(evaluation.figure, own)


def figure_of(found: Evaluations, name: str) -> float | None:
    """`ade20k.miou` of the evaluation on that task; None without one, or without the number."""
    task, own = parted(name)
    return found[task].figure(own) if task in found else None
