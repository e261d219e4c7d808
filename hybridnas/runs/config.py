"""What a full training is told: a recipe's YAML, with the user's data and settings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt, ValidationError, model_validator

from ..architecture import Architecture
from ..config import Fidelity, Protocol, Task, named
from ..cost import cost
from ..errors import ConfigError
from ..recipe import Fraction, Recipe, Seed, Value, check_ends
from ..reference import reference
from ..resources import find, told
from ..strict_yaml import explain, override, read_yaml
from ..train import check_recipe


class RunConfig(Value):
    """A recipe file, complete.

    epochs or iterations (steps): how long; one of the two. resolution: pixels, of the task's crops.
    init: `weights`: the backbone starts from a file that must be given. drop_paths: by reference
    architecture, for architectures that recipe.drop_path says nothing of.
    score_every: epochs from one scoring to the next; the last is always scored.
    """

    description: str = ""
    task: Annotated[Task, BeforeValidator(named)]
    resolution: PositiveInt
    epochs: PositiveInt | None = None
    iterations: PositiveInt | None = None
    init: Literal["none", "weights"] = "none"
    drop_paths: dict[str, Fraction] = Field(default_factory=dict)
    score_every: PositiveInt = 1
    seed: Seed = 0
    recipe: Recipe = Recipe()

    @model_validator(mode="after")
    def _length_fits(self) -> RunConfig:
        if (self.epochs is None) == (self.iterations is None):
            raise ValueError("give one of epochs and iterations")
        recipe, epochs = self.recipe, self.epochs
        if epochs is None:
            return self
        if recipe.milestones and recipe.milestones[-1] >= epochs:
            raise ValueError(
                f"recipe.milestones {list(recipe.milestones)} must lie before the end, epoch "
                f"{epochs}; say which they are with --set recipe.milestones=[...]"
            )
        check_ends(recipe, epochs)
        return self

    def fitted(self, architecture: Architecture) -> RunConfig:
        """With the drop path of the reference architecture that is nearest in parameters, in log
        scale; as it is where there are no drop_paths."""
        if not self.drop_paths:
            return self
        own = math.log(cost(architecture, 224).params)

        def distance(name: str) -> float:
            return abs(math.log(cost(reference(name), 224).params) - own)

        rate = self.drop_paths[min(self.drop_paths, key=distance)]
        recipe = self.recipe.model_copy(update={"drop_path": rate})
        return self.model_copy(update={"recipe": recipe, "drop_paths": {}})

    def protocol(
        self,
        steps_per_epoch: int,
        data_digest: str,
        class_names: tuple[str, ...],
        init: str,
        init_digest: str,
    ) -> Protocol:
        """What an evaluation of the trained network is known by."""
        epochs = self.epochs
        if epochs is None:
            assert self.iterations is not None
            epochs = -(-self.iterations // steps_per_epoch)
        return Protocol(
            task=self.task,
            recipe=self.recipe,
            fidelity=Fidelity(
                epochs=epochs, resolution=self.resolution, iterations=self.iterations
            ),
            seed=self.seed,
            init=init,
            init_digest=init_digest,
            data_digest=data_digest,
            class_names=class_names,
        )


def load_recipe(
    name_or_path: str, settings: Iterable[str] = (), *, data: str | None = None
) -> RunConfig:
    """A shipped recipe or a YAML file, with `key=value` settings and the place of the data.

    Epochs or iterations that are set take the place of those in the file; so does
    recipe.drop_path of drop_paths. Raises ConfigError that names the key.
    """
    path = find("recipes", name_or_path)
    settings = list(settings)
    keys = {setting.partition("=")[0].strip() for setting in settings}
    raw = read_yaml(path)
    for key, rival in {"epochs": "iterations", "iterations": "epochs"}.items():
        if key in keys and rival not in keys:
            raw.pop(rival, None)
    if "recipe.drop_path" in keys:
        raw.pop("drop_paths", None)
    raw = override(raw, settings)
    if data is not None:
        task = raw.get("task", {})
        raw["task"] = {**(task if isinstance(task, dict) else {"name": task}), "data": data}
    try:
        config = RunConfig.model_validate(raw)
    except ValidationError as error:
        where = told("recipes", path)
        raise ConfigError(f"{where}: {explain(error, RunConfig)}") from None
    check_recipe(config.recipe)
    for name in config.drop_paths:
        reference(name)
    return config
