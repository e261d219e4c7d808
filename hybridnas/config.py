"""What a study and an evaluation are told, as frozen values: strict YAML in, canonical JSON out."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from .errors import ConfigError
from .objectives import SHARES, Direction, check_measured, check_objectives
from .recipe import Augmentation as Augmentation
from .recipe import Fraction, SearchSeed, Seed, Value
from .recipe import Recipe as Recipe
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
from .task_defaults import TASK_DEFAULTS, task_named, with_task_defaults

LONGEST_NAME = 100  # characters of a study's name
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"  # of a study


class Task(Value):
    """What is learned, from which data.

    data: of classification `digits` (ships with scikit-learn), a folder in ImageFolder layout,
        one folder a split, or what data.readers knows; of segmentation a folder laid out as
        ADE20K; of detection one laid out as COCO.
    train, val: the splits; by default training and validation for segmentation, train2017 and
        val2017 for detection.
    head_width: of dense tasks: channels of UperNet or Mask R-CNN; None: 512 or 256, as published.
    max_corrupt: the share of unreadable images that is counted and skipped; above it is an error.
    classes, num_classes, per_class: of classification, for less data: these classes alone; so
        many, always the same ones; at most so many images of each to train on (data.subsets).
    """

    name: Literal["classification", "segmentation", "detection"] = "classification"
    data: str = "digits"
    train: str = "train"
    val: str = "val"
    head_width: PositiveInt | None = None
    max_corrupt: Fraction = 0.001
    classes: Annotated[tuple[str, ...], Field(min_length=2)] | None = None
    num_classes: int | None = Field(default=None, ge=2)
    per_class: PositiveInt | None = None

    @model_validator(mode="after")
    def _subset_makes_sense(self) -> Task:
        if self.classes is not None and self.num_classes is not None:
            raise ValueError("give one of classes and num_classes")
        subset = (self.classes, self.num_classes, self.per_class)
        if self.name != "classification" and subset != (None, None, None):
            raise ValueError(
                f"classes, num_classes and per_class choose images of classification, not of "
                f"{self.name}"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, raw: Any) -> Any:
        if not isinstance(raw, Mapping) or (name := task_named(raw)) not in TASK_DEFAULTS:
            return raw
        if name != "classification" and "data" not in raw:
            raise ValueError(f"{name} needs data, a folder (--set task.data=DIR)")
        if name == "classification" and raw.get("head_width") is not None:
            raise ValueError("head_width is of segmentation and detection")
        return {**TASK_DEFAULTS[name].task, **raw}


class Fidelity(Value):
    """How much training: epochs at a resolution in pixels: the side of a square image of
    classification and of a crop of segmentation, the shorter side of an image of detection.

    iterations: steps after which it ends within its last epoch; None: with that epoch.
    share: of each class's training images, always the same ones; an epoch goes through those.
    """

    epochs: PositiveInt
    resolution: PositiveInt
    iterations: PositiveInt | None = None
    share: float = Field(default=1.0, gt=0, le=1)

    @property
    def work(self) -> float:
        """What a training costs beside others of one ladder: epochs x share, or iterations, x
        resolution^2."""
        return (self.iterations or self.epochs * self.share) * self.resolution**2

    def num_steps(self, steps_per_epoch: int) -> int:
        """Of the whole training."""
        most = self.epochs * steps_per_epoch
        return most if self.iterations is None else min(self.iterations, most)

    def steps_by_epoch(self, steps_per_epoch: int) -> list[int]:
        """Of each epoch that is begun; the last one may be shorter."""
        whole, rest = divmod(self.num_steps(steps_per_epoch), steps_per_epoch)
        return [steps_per_epoch] * whole + [rest] * bool(rest)


class Protocol(Value):
    """Everything but the architecture that decides an evaluation's score.

    init: `none`, or a file of weights to start from. data_digest, init_digest: of what the data
    and that file hold. class_names: in the order of a model's outputs.
    """

    task: Task
    recipe: Recipe
    fidelity: Fidelity
    seed: Seed = 0
    init: str = "none"
    init_digest: str = ""
    data_digest: str = ""
    class_names: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def digest(self) -> str:
        """12 hex digits. Where data and weights lie does not matter, what they hold does."""
        # Without what stands at its default, so that a later field, whose default means what was
        # done before, changes no digest. The data's digest knows the classes.
        fixed = self.model_dump(mode="json", exclude={"class_names"}, exclude_defaults=True)
        if self.data_digest:
            fixed.get("task", {}).pop("data", None)
        if self.init_digest:
            fixed.pop("init", None)
        text = json.dumps(fixed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def from_json(cls, text: str) -> Protocol:
        return cls.model_validate_json(text)


def named(raw: object) -> object:
    """For BeforeValidator: a name by itself stands for a value that has only that."""
    return {"name": raw} if isinstance(raw, str) else raw


def _file(raw: object) -> object:
    return {"file": raw} if isinstance(raw, str) else raw


class Study(Value):
    """A study's YAML: space + task + fidelities + objectives + constraints + sampler + budget.

    fidelities: a ladder, each rung a training with its own full schedule, rising in cost. A
        candidate begins at the lowest; who goes on is decided by successive halving.
    final: who is trained again at the end; None: nobody.
    recipe, objectives: what is not given is the task's (task_defaults); a recipe may be named
        (recipe_files).
    references: the reference architectures to try first; None: all that fit space and constraints.
    init: `none`: fresh weights; or a file of weights (.safetensors, .pth) to start from.
    artifacts: where weights of the best candidates go, a folder or an fsspec URL.
    keep_weights: how many candidates off the front keep theirs.
    latency: a table's file; latency_ms may then be an objective and a constraint.
    """

    name: str = Field(pattern=NAME, max_length=LONGEST_NAME)
    description: str = ""
    space: str | dict[str, Any]
    task: Annotated[Task, BeforeValidator(named)] = Task()
    recipe: Recipe = Recipe()
    fidelities: Annotated[tuple[Fidelity, ...], Field(min_length=1)]
    halving: Halving = Halving()
    final: Final | None = None
    objectives: dict[str, Direction]
    constraints: Constraints = Constraints()
    latency: Annotated[Latency | None, BeforeValidator(_file)] = None
    sampler: Annotated[Sampler, BeforeValidator(named)] = Sampler()
    budget: Budget
    resources: Resources = Resources()
    references: tuple[str, ...] | None = None
    init: str = "none"
    seed: SearchSeed = 0
    artifacts: str = "artifacts"
    keep_weights: int = Field(default=5, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, raw: Any) -> Any:
        return with_task_defaults(with_named_recipe(raw)) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _objectives_make_sense(self) -> Study:
        check_objectives(self.objectives, self.task.name)
        soft = self.constraints.soft()
        check_measured("constraints", soft, self.task.name)
        for name in soft.keys() & SHARES:
            for word, value in (("min", soft[name].min), ("max", soft[name].max)):
                if value is not None and value > 1:
                    raise ValueError(f"constraints.{name}.{word}: a share of 1, got {value:g}")
        if self.latency is None and {"latency_ms"} & {*self.objectives, *self.constraints.bounds()}:
            raise ValueError(
                "latency_ms needs a table: latency: FILE, which `hybridnas latency SPACE --out "
                "FILE` makes"
            )
        return self

    @model_validator(mode="after")
    def _rungs_rise(self) -> Study:
        if len({f.iterations is None for f in self.fidelities}) > 1:
            raise ValueError("fidelities: give iterations for every rung, or for none")
        for number, (low, high) in enumerate(itertools.pairwise(self.fidelities), 1):
            if low.work >= high.work:
                raise ValueError(
                    f"fidelities.{number}: a rung must cost more (epochs x share x resolution^2) "
                    f"than the one before"
                )
        shares, rungs = self.halving.shares, len(self.fidelities)
        if shares is not None and len(shares) != rungs:
            raise ValueError(f"halving.shares: give one a rung ({rungs}), got {len(shares)}")
        if self.task.name != "classification" and any(f.share < 1 for f in self.fidelities):
            raise ValueError(f"fidelities: share is of classification only, not {self.task.name}")
        return self

    @property
    def measured(self) -> str:
        """The first objective that the task scores: what "best" means."""
        scored = TASK_DEFAULTS[self.task.name].scored
        return next(name for name in self.objectives if name in scored)

    @property
    def fidelity(self) -> Fidelity:
        """The top of the ladder: where costs are counted and the front is drawn."""
        return self.fidelities[-1]

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
