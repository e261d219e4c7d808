"""What an evaluation is made under: task, recipe, fidelity, and the digest of them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from .recipe import Fraction, Recipe, Seed, Value
from .task_defaults import TASK_DEFAULTS, task_named


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

    def seedless(self) -> Protocol:
        """What trainings that differ in their seed share."""
        return self.model_copy(update={"seed": 0})

    @classmethod
    def from_json(cls, text: str) -> Protocol:
        return cls.model_validate_json(text)


def named(raw: object) -> object:
    """For BeforeValidator: a name by itself stands for a value that has only that."""
    return {"name": raw} if isinstance(raw, str) else raw
