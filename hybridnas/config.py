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
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from .errors import ConfigError
from .objectives import CLOSED_FORM, Direction, check_objectives
from .strict_yaml import explain
from .study_parts import Bound as Bound
from .study_parts import Budget as Budget
from .study_parts import Constraints as Constraints
from .study_parts import Latency as Latency
from .study_parts import Resources as Resources
from .study_parts import Sampler as Sampler
from .study_parts import Value
from .task_defaults import TASK_DEFAULTS, task_named, with_task_defaults

Fraction = Annotated[float, Field(ge=0, le=1)]


class Task(Value):
    """What is learned, from which data.

    data: of classification `digits` (ships with scikit-learn) or a folder in ImageFolder layout,
        one folder a split; of segmentation a folder laid out as ADE20K; of detection one laid out
        as COCO.
    train, val: the splits; by default training and validation for segmentation, train2017 and
        val2017 for detection.
    head_width: of dense tasks: channels of UperNet or Mask R-CNN; None: 512 or 256, as published.
    max_corrupt: the share of unreadable images that is counted and skipped; above it is an error.
    """

    name: Literal["classification", "segmentation", "detection"] = "classification"
    data: str = "digits"
    train: str = "train"
    val: str = "val"
    head_width: PositiveInt | None = None
    max_corrupt: Fraction = 0.001

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


class Augmentation(Value):
    """timm's augmentation (`timm.data.create_transform`, `timm.data.Mixup`), by timm's names."""

    scale: tuple[PositiveFloat, PositiveFloat] = (0.35, 1.0)
    ratio: tuple[PositiveFloat, PositiveFloat] = (0.75, 4 / 3)
    hflip: Fraction = 0.5
    color_jitter: float | None = None
    auto_augment: str | None = None
    reprob: Fraction = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0


class Recipe(Value):
    """How a candidate is trained: AdamW, linear warm-up, cosine decay to `min_lr`.

    lr is for `batch_size`; lr_scale multiplies it, and min_lr, in the blocks of the mixers that it
    names: one rate for all misjudges attention beside SSM in short trainings. No weight decay on
    biases, norms and a scan's own numbers. crop_pct: timm's, for validation. drop_path grows
    linearly with depth. ema_decay: of an exponential moving average of the weights after each step,
    which is then scored in their place; null: none.
    """

    batch_size: PositiveInt = 128
    lr: PositiveFloat = 1e-3
    lr_scale: dict[str, PositiveFloat] = Field(default={})
    min_lr: float = Field(default=1e-5, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_epochs: float = Field(default=1.0, ge=0)
    label_smoothing: Fraction = 0.1
    clip_grad: PositiveFloat | None = 1.0
    drop_path: Fraction = 0.0
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    crop_pct: PositiveFloat = 1.0
    augmentation: Augmentation = Augmentation()


class Fidelity(Value):
    """How much training: epochs at a resolution in pixels: the side of a square image of
    classification and of a crop of segmentation, the shorter side of an image of detection.

    share: of each class's training images, always the same ones; an epoch goes through those.
    """

    epochs: PositiveInt
    resolution: PositiveInt
    share: float = Field(default=1.0, gt=0, le=1)

    @property
    def relative_cost(self) -> float:
        """Of a training, but for a factor that all fidelities of a study have in common."""
        return self.epochs * self.share * self.resolution**2


class Protocol(Value):
    """Everything but the architecture that decides an evaluation's score.

    init: `none`, or a file of weights to start from. data_digest, init_digest: of what the data
    and that file hold. class_names: in the order of a model's outputs.
    """

    task: Task
    recipe: Recipe
    fidelity: Fidelity
    seed: int = Field(default=0, ge=0)
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


def _named(raw: object) -> object:
    return {"name": raw} if isinstance(raw, str) else raw


def _file(raw: object) -> object:
    return {"file": raw} if isinstance(raw, str) else raw


class Study(Value):
    """A study's YAML: space + task + fidelities + objectives + constraints + sampler + budget.

    fidelities: a ladder, each rung a training with its own full schedule, rising in cost.
    recipe, objectives: what is not given is the task's (task_defaults).
    references: the reference architectures to try first; None: all that fit space and constraints.
    init: `none`: fresh weights; or a file of weights (.safetensors, .pth) to start from.
    artifacts: where weights of the best candidates go, a folder or an fsspec URL.
    keep_weights: how many candidates off the front keep theirs.
    latency: a table's file; latency_ms may then be an objective and a constraint.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    description: str = ""
    space: str | dict[str, Any]
    task: Annotated[Task, BeforeValidator(_named)] = Task()
    recipe: Recipe = Recipe()
    fidelities: Annotated[tuple[Fidelity, ...], Field(min_length=1)]
    objectives: dict[str, Direction]
    constraints: Constraints = Constraints()
    latency: Annotated[Latency | None, BeforeValidator(_file)] = None
    sampler: Annotated[Sampler, BeforeValidator(_named)] = Sampler()
    budget: Budget
    resources: Resources = Resources()
    references: tuple[str, ...] | None = None
    init: str = "none"
    seed: int = Field(default=0, ge=0)
    artifacts: str = "artifacts"
    keep_weights: int = Field(default=5, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, raw: Any) -> Any:
        return with_task_defaults(raw) if isinstance(raw, Mapping) else raw

    @model_validator(mode="after")
    def _objectives_make_sense(self) -> Study:
        check_objectives(self.objectives, self.task.name)
        if self.latency is None and {"latency_ms"} & {*self.objectives, *self.constraints.bounds()}:
            raise ValueError(
                "latency_ms needs a table: latency: FILE, which `hybridnas latency SPACE --out "
                "FILE` makes"
            )
        return self

    @model_validator(mode="after")
    def _rungs_rise(self) -> Study:
        for number, (low, high) in enumerate(itertools.pairwise(self.fidelities), 1):
            if high.relative_cost <= low.relative_cost:
                raise ValueError(
                    f"fidelities.{number}: a rung must cost more (epochs x share x resolution^2) "
                    f"than the one before"
                )
        if self.task.name != "classification" and any(f.share < 1 for f in self.fidelities):
            raise ValueError(f"fidelities: share is of classification only, not {self.task.name}")
        return self

    @property
    def measured(self) -> str:
        """The first objective that is measured: what "best" means."""
        return next(name for name in self.objectives if name not in CLOSED_FORM)

    @property
    def fidelity(self) -> Fidelity:
        """The top of the ladder: where costs are counted and the front is drawn."""
        return self.fidelities[-1]

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
