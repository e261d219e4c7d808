"""How a network is trained, as a frozen value: optimiser, schedule, augmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from .counting import number_of

Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # as torch and databases have them
SearchSeed = Annotated[int, Field(ge=0, lt=2**32)]  # as numpy has them, with which Optuna draws
_Momentum = Annotated[float, Field(ge=0, lt=1)]


class Value(BaseModel):
    """What a YAML file says, checked and never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool(cls, value: object) -> object:
        if isinstance(value, bool):  # pydantic would take `trials: yes` for 1
            raise ValueError("no key here is true or false")
        return value


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
    """How a candidate is trained: AdamW, warm-up in a straight line, then `schedule`.

    lr is for `batch_size` images a step, those of all processes together. lr_scale multiplies it
    in the blocks of the mixers that it names (under `cosine` min_lr, too): one rate for all
    misjudges attention beside SSM in short trainings. layer_decay multiplies it once for each
    layer that a parameter lies below the head (as timm's param_groups_layer_decay). No weight decay
    on biases, norms and a scan's own numbers.

    schedule: `cosine` to min_lr; `poly`: (1 - t / T) ** power, to min_lr; `multistep`: times
    decay_rate from the end of each epoch in `milestones` on. cooldown_epochs: the last ones, which
    stay at min_lr.
    warmup_steps: in the place of warmup_epochs, which it overrides. warmup_lr: where it begins;
    None: one step up from 0. warmup: `before` the schedule begins, or `within` it, whose first part
    it then replaces (as timm and mmsegmentation do by default).

    crop_pct: timm's, for validation. drop_path grows linearly with depth. ema_decay: of an
    exponential moving average of the weights after each step, which is then scored in their place;
    null: none.
    """

    batch_size: PositiveInt = 128
    lr: PositiveFloat = 1e-3
    lr_scale: dict[str, PositiveFloat] = {}
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_lr: float = Field(default=1e-5, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    betas: tuple[_Momentum, _Momentum] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    schedule: Literal["cosine", "poly", "multistep"] = "cosine"
    power: PositiveFloat = 1.0
    milestones: tuple[PositiveInt, ...] = ()
    decay_rate: Fraction = 0.1
    cooldown_epochs: float = Field(default=0.0, ge=0)
    warmup_epochs: float = Field(default=1.0, ge=0)
    warmup_steps: PositiveInt | None = None
    warmup_lr: float | None = Field(default=None, ge=0)
    warmup: Literal["before", "within"] = "before"
    label_smoothing: Fraction = 0.1
    clip_grad: PositiveFloat | None = 1.0
    drop_path: Fraction = 0.0
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    crop_pct: PositiveFloat = 1.0
    augmentation: Augmentation = Augmentation()

    @model_validator(mode="after")
    def _milestones_belong(self) -> Recipe:
        if bool(self.milestones) != (self.schedule == "multistep"):
            raise ValueError(
                "milestones: the epochs of schedule multistep, and of no other; got "
                f"schedule {self.schedule} with milestones {list(self.milestones)}"
            )
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones: must rise, got {list(self.milestones)}")
        return self


def check_ends(recipe: Recipe, epochs: int, owner: str = "") -> None:
    """ValueError where warm-up and cool-down are longer than the training, or with a cool-down as
    long, with settings that would do. Nothing is shortened unasked: it would be another recipe.

    owner: what stands before `recipe` in the key that it has (`also.masks.`).
    """
    warmup = 0.0 if recipe.warmup_steps is not None else recipe.warmup_epochs
    ends = {"warmup_epochs": warmup, "cooldown_epochs": recipe.cooldown_epochs}
    if warmup <= epochs and (not recipe.cooldown_epochs or sum(ends.values()) < epochs):
        return
    given = {name: length for name, length in ends.items() if length}
    raise ValueError(
        f"recipe: {' and '.join(f'{name} {length:g}' for name, length in given.items())} must fit "
        f"into {number_of(epochs, 'epoch')}; shorter ones, a tenth of the training: "
        + " ".join(f"--set {owner}recipe.{name}={epochs / 10:g}" for name in given)
    )
