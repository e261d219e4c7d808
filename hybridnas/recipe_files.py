"""Recipes by name in a study's YAML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .resources import find
from .strict_yaml import read_yaml
from .task_defaults import task_named


def with_named_recipe(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's YAML with its recipe written out where it names one.

    `recipe: NAME` (shipped, or a file) stands for what that file has under `recipe`, for its subset
    of the data (task.num_classes, ...) and, where it counts epochs, for one fidelity;
    `recipe: {name: NAME, lr: 1e-3, ...}` changes some of it. What the study says itself stands
    above. Raises ConfigError for a name that is none, ValueError for a recipe of another task.
    """
    given = raw.get("recipe")
    own = {"name": given} if isinstance(given, str) else given
    if not isinstance(own, Mapping) or "name" not in own:
        return dict(raw)
    name = str(own["name"])
    file = read_yaml(find("recipes", name))
    theirs, mine = task_named(file.get("task")), task_named(raw.get("task"))
    if theirs != mine:
        raise ValueError(f"recipe {name} is for {theirs}, the study's task is {mine}")
    changes = {key: value for key, value in own.items() if key != "name"}
    filled = {**raw, "recipe": {**file.get("recipe", {}), **changes}}
    task = raw.get("task")
    if isinstance(task, Mapping) and isinstance(file.get("task"), Mapping):
        filled["task"] = {**file["task"], **task}
    if "fidelities" not in raw and "epochs" in file:
        filled["fidelities"] = [{key: file[key] for key in ("epochs", "resolution")}]
    return filled
