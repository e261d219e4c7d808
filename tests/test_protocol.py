"""An evaluation's protocol: canonical out, and a digest that knows what decides a score."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hybridnas.config import Fidelity, Protocol, Recipe, Task

PROTOCOL = Protocol(
    task=Task(), recipe=Recipe(), fidelity=Fidelity(epochs=2, resolution=32), data_digest="abc"
)


def test_a_protocol_survives_json() -> None:
    recipe = Recipe(lr=1 / 3, clip_grad=None)
    changes = {"seed": 5, "recipe": recipe, "class_names": ("cat", "dog")}
    protocol = PROTOCOL.model_copy(update=changes)
    again = Protocol.from_json(protocol.to_json())
    assert again == protocol
    assert again.digest == protocol.digest
    assert protocol.to_json() == json.dumps(
        json.loads(protocol.to_json()), sort_keys=True, separators=(",", ":")
    )


def test_the_digest_is_pinned_and_knows_the_data_by_its_contents() -> None:
    assert PROTOCOL.digest == "61465c0c3ac0"
    moved = PROTOCOL.model_copy(update={"task": Task(data="/elsewhere")})
    assert moved.digest == PROTOCOL.digest
    named = PROTOCOL.model_copy(update={"class_names": ("cat", "dog")})
    assert named.digest == PROTOCOL.digest
    assert PROTOCOL.model_copy(update={"init": "a.pth"}).digest != PROTOCOL.digest
    started = PROTOCOL.model_copy(update={"init": "a.pth", "init_digest": "12"})
    assert started.digest != PROTOCOL.digest
    assert started.model_copy(update={"init": "/elsewhere/b.pth"}).digest == started.digest
    dense = PROTOCOL.model_copy(update={"task": Task(name="segmentation", data="x")})
    narrow = Task(name="segmentation", data="x", head_width=64)
    assert dense.digest != PROTOCOL.digest
    assert PROTOCOL.model_copy(update={"task": narrow}).digest != dense.digest
    unknown = PROTOCOL.model_copy(update={"data_digest": ""})
    assert unknown.digest != PROTOCOL.digest
    assert moved.model_copy(update={"data_digest": ""}).digest != unknown.digest


def _leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for key, value in tree.items():
        deeper = isinstance(value, dict)
        found += _leaves(value, (*path, key)) if deeper else [((*path, key), value)]
    return found


# A literal, what only dense tasks have, what data_digest stands for, what goes with another field.
LEFT_OUT = {("task", "name"), ("task", "head_width"), ("class_names",), ("recipe", "milestones")}
# Where any other value of the type would be refused.
NUMBERS = ("warmup_steps", "iterations", "num_classes", "per_class")
OTHER: dict[str, Any] = {"schedule": "poly", "warmup": "within", "classes": ["cat", "dog"]}
OTHER |= dict.fromkeys(NUMBERS, 7)
LEAVES = [leaf for leaf in _leaves(PROTOCOL.model_dump(mode="json")) if leaf[0] not in LEFT_OUT]


@pytest.mark.parametrize(("path", "value"), LEAVES, ids=[".".join(path) for path, _ in LEAVES])
def test_the_digest_depends_on_every_field_but_the_place_of_the_data(
    path: tuple[str, ...], value: Any
) -> None:
    changed = PROTOCOL.model_dump(mode="json")
    node = changed
    for key in path[:-1]:
        node = node[key]
    others = {str: "other", type(None): "0.5", list: [0.1, 0.9], int: 3, float: 0.125}
    node[path[-1]] = OTHER.get(path[-1], others[type(value)])
    different = Protocol.model_validate(changed)
    assert different != PROTOCOL
    assert (different.digest == PROTOCOL.digest) == (path == ("task", "data"))
