"""YAML read strictly: unique keys, dotted overrides, findings that name the key."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from .errors import ConfigError


class _UniqueKeys(yaml.SafeLoader):
    """YAML's safe loader, refusing a key that stands twice (PyYAML keeps the last in silence)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *anchor`, for super() to resolve
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):  # super() says so, with its place
                break
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML (or JSON) file; ConfigError names file and place otherwise."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(raw).__name__}")
    return raw


def override(raw: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """A copy of raw with `key.sub=value` settings applied; values are read as YAML."""
    result: dict[str, Any] = _copied(raw)
    for setting in settings:
        path, equals, text = setting.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(f"--set takes KEY=VALUE with a dotted key, got {setting!r}")
        try:
            value = yaml.load(text, Loader=_UniqueKeys)
        except yaml.YAMLError:
            raise ConfigError(f"--set {path}: {text!r} is not a YAML value") from None
        _put(result, keys, value, setting)
    return result


def _copied(value: Any) -> Any:
    """A deep copy in which nothing is shared, though YAML's anchors share it."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _put(tree: dict[str, Any], keys: list[str], value: object, setting: str) -> None:
    node: Any = tree
    for position, key in enumerate(keys):
        last = position == len(keys) - 1
        if isinstance(node, list):
            if not key.isdecimal() or int(key) >= len(node):
                raise ConfigError(f"--set {setting}: {key!r} is no index of a list of {len(node)}")
            step: Any = int(key)
        else:
            step = key
        if last:
            node[step] = value
            return
        inner = node.get(step) if isinstance(node, dict) else node[step]
        if not isinstance(inner, dict | list):
            # `sampler: tpe` grows into `sampler: {name: tpe, ...}` when an option of it is set
            node[step] = {"name": inner} if isinstance(inner, str) else {}
        node = node[step]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """pydantic's findings as one line: key, what was wrong, what came, what is allowed."""
    items = error.errors(include_url=False)
    above = {item["loc"][:n] for item in items for n in range(len(item["loc"]))}
    parts = []
    for item in items:
        if item["type"] == "too_short" and item["loc"] in above:
            continue  # of a list with wrong entries pydantic counts the right ones
        key = ".".join(str(step) for step in item["loc"])
        if item["type"] == "extra_forbidden":
            owner = _model_at(model, item["loc"][:-1])
            allowed = f"; allowed: {', '.join(owner.model_fields)}" if owner else ""
            parts.append(f"unknown key {key!r}{allowed}")
        elif item["type"] == "missing":
            parts.append(f"{key!r} is missing")
        else:
            message = item["msg"].removeprefix("Value error, ")
            came = "" if isinstance(item["input"], dict) else f", got {item['input']!r}"
            of = key and f"{key}: "  # nothing of what is wrong with the file as a whole
            parts.append(f"{of}{message[:1].lower()}{message[1:]}{came}")
    return "; ".join(parts)


def _model_at(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    steps = iter(path)
    for step in steps:
        if isinstance(step, int):
            continue
        field = model.model_fields.get(step)
        inner = _models_in(field.annotation) if field else []
        if field is None or not inner:
            return None
        model = inner[0]
        if get_origin(field.annotation) is dict:
            next(steps, None)  # the user's own key
    return model


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
