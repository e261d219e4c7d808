"""What a study is told, as a frozen value: strict YAML in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from .errors import ConfigError
from .objectives import SHARES, Direction, check_measured, check_objectives, parted
from .objectives import named as objective_named
from .protocol import Fidelity as Fidelity
from .protocol import Protocol as Protocol
from .protocol import Task as Task
from .protocol import named as named
from .recipe import Augmentation as Augmentation
from .recipe import Recipe as Recipe
from .recipe import SearchSeed, Value
from .recipe_files import with_named_recipe
from .sampler_config import Sampler as Sampler
from .strict_yaml import explain
from .study_parts import Bound as Bound
from .study_parts import Budget as Budget
from .study_parts import Constraints as Constraints
from .study_parts import Final as Final
from .study_parts import Halving as Halving
from .study_parts import Latency as Latency
from .study_parts import Resources as Resources
from .task_defaults import TASK_DEFAULTS, with_default_objectives, with_default_recipe

LONGEST_NAME = 100  # characters of a study's name
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of a study
# What the studies of a study's calibration and of an ablation are called, after its own name.
CALIBRATION, TWINS = ".calibration", ".twins-"
TASK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"  # a dot parts it from a figure


def parent_study(name: str) -> str | None:
    """Whose twin test or calibration was trained under a name; None for a study of its own."""
    parent, mark, _ = name.rpartition(TWINS)
    if mark:
        return parent
    return name.removesuffix(CALIBRATION) if name.endswith(CALIBRATION) else None


def _file(raw: object) -> object:
    return {"file": raw} if isinstance(raw, str) else raw


class StudyTask(Value):
    """A task as candidates are evaluated on it.

    recipe: what is not given is the task's (task_defaults); it may be named (recipe_files).
    fidelities: a ladder, each rung a training with its own full schedule, rising in cost.
    constraints: of costs with the task's head, at the top rung, and of what it measures.
    init: `none`: fresh weights; or a file of weights (.safetensors, .pth) to start from.
    """

    task: Annotated[Task, BeforeValidator(named)] = Task()
    recipe: Recipe = Recipe()
    fidelities: Annotated[tuple[Fidelity, ...], Field(min_length=1)]
    constraints: Constraints = Constraints()
    init: str = "none"

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, raw: Any) -> Any:
        return with_default_recipe(with_named_recipe(raw)) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _constraints_make_sense(self) -> StudyTask:
        soft = self.constraints.soft()
        check_measured("constraints", soft, self.task.name)
        for name in soft.keys() & SHARES:
            for word, value in (("min", soft[name].min), ("max", soft[name].max)):
                if value is not None and value > 1:
                    raise ValueError(f"constraints.{name}.{word}: a share of 1, got {value:g}")
        return self

    @model_validator(mode="after")
    def _rungs_rise(self) -> StudyTask:
        if len({f.iterations is None for f in self.fidelities}) > 1:
            raise ValueError("fidelities: give iterations for every rung, or for none")
        for number, (low, high) in enumerate(itertools.pairwise(self.fidelities), 1):
            if low.work >= high.work:
                raise ValueError(
                    f"fidelities.{number}: a rung must cost more (epochs x share x resolution^2) "
                    f"than the one before"
                )
        if self.task.name != "classification" and any(f.share < 1 for f in self.fidelities):
            raise ValueError(f"fidelities: share is of classification only, not {self.task.name}")
        return self

    @property
    def fidelity(self) -> Fidelity:
        """The top of the ladder: where costs are counted and the front is drawn."""
        return self.fidelities[-1]


class Study(StudyTask):
    """A study's YAML: space + task + fidelities + objectives + constraints + sampler + budget.

    A candidate begins at the lowest fidelity; who goes on is decided by successive halving.
    final: who is trained again at the end; None: nobody.
    also: other tasks by name, on which each candidate is evaluated too, after the study's own, with
        as many rungs; `NAME.figure` is an objective then.
    objectives: what is not given is the task's (task_defaults).
    references: the reference architectures to try first; None: all that fit space and constraints.
    artifacts: where weights of the best candidates go, a folder or an fsspec URL.
    keep_weights: how many candidates off the front keep theirs.
    latency: a table's file; latency_ms may then be an objective and a constraint.
    """

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    description: str = ""
    space: str | dict[str, Any]
    also: dict[Annotated[str, Field(pattern=TASK_NAME)], StudyTask] = Field(default_factory=dict)
    halving: Halving = Halving()
    final: Final | None = None
    objectives: dict[str, Direction]
    latency: Annotated[Latency | None, BeforeValidator(_file)] = None
    sampler: Annotated[Sampler, BeforeValidator(named)] = Sampler()
    budget: Budget
    resources: Resources = Resources()
    references: tuple[str, ...] | None = None
    seed: SearchSeed = 0
    artifacts: str = "artifacts"
    keep_weights: int = Field(default=5, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _default_objectives(cls, raw: Any) -> Any:
        return with_default_objectives(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _objectives_make_sense(self) -> Study:
        check_objectives(self.objectives, {n: t.task.name for n, t in self.tasks.items()})
        names = {*self.objectives, *self.bounds()}
        if self.latency is None and "latency_ms" in names:
            raise ValueError(
                "latency_ms needs a table: latency: FILE, which `hybridnas latency SPACE --out "
                "FILE` makes"
            )
        for task, own in map(parted, sorted(names)):
            if task and own == "latency_ms":
                raise ValueError(f"{task}.{own}: latency_ms is of the study's own task only")
        return self

    @model_validator(mode="after")
    def _rungs_match(self) -> Study:
        rungs, shares = len(self.fidelities), self.halving.shares
        if shares is not None and len(shares) != rungs:
            raise ValueError(f"halving.shares: give one a rung ({rungs}), got {len(shares)}")
        for name, other in self.also.items():
            if len(other.fidelities) != rungs:
                raise ValueError(
                    f"also.{name}.fidelities: as many rungs as the study's own task has ({rungs}), "
                    f"got {len(other.fidelities)}"
                )
        return self

    @property
    def tasks(self) -> dict[str, StudyTask]:
        """All that a candidate is evaluated on, in that order; its own as ""."""
        return {"": self, **self.also}

    def bounds(self) -> dict[str, Bound]:
        """The hard constraints of all tasks, by the names that objectives have."""
        return self._of_all({name: t.constraints.bounds() for name, t in self.tasks.items()})

    def soft(self) -> dict[str, Bound]:
        """The soft constraints of all tasks, by the names that objectives have."""
        return self._of_all({name: t.constraints.soft() for name, t in self.tasks.items()})

    def _of_all(self, bounds: Mapping[str, Mapping[str, Bound]]) -> dict[str, Bound]:
        return {
            objective_named(task, own): bound
            for task, by_name in bounds.items()
            for own, bound in by_name.items()
        }

    def alone(self, task: str) -> Study:
        """The study of one of its tasks alone; "": of its own."""
        split = ((*parted(name), way) for name, way in self.objectives.items())
        update: dict[str, Any] = {"objectives": {o: way for t, o, way in split if t == task}}
        if task:
            other = self.also[task]
            update |= {name: getattr(other, name) for name in StudyTask.model_fields}
            update["latency"] = None
        return self.model_copy(update={**update, "also": {}})

    @property
    def measured(self) -> str:
        """The first objective that the study's own task scores: what "best" means."""
        scored = TASK_DEFAULTS[self.task.name].scored
        return next(name for name in self.objectives if name in scored)

    @property
    def rates(self) -> tuple[float, ...]:
        """Of each rung but the top: the part of its candidates that go on."""
        return self.halving.rates([fidelity.work for fidelity in self.fidelities])

    def protocol(
        self, data_digest: str, class_names: tuple[str, ...], init_digest: str = ""
    ) -> Protocol:
        """What every candidate of this study is evaluated under, at the top of its ladder."""
        return Protocol(
            task=self.task,
            recipe=self.recipe,
            fidelity=self.fidelity,
            seed=self.seed,
            init=self.init,
            init_digest=init_digest,
            data_digest=data_digest,
            class_names=class_names,
        )


def parse_study(raw: Mapping[str, Any], where: str) -> Study:
    """The study that a mapping describes; ConfigError names the key, what came, what is allowed."""
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, Study)}") from None
