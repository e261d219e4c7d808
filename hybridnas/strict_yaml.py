"""YAML read strictly: unique keys, dotted overrides, findings that name the key."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .errors import ConfigError, meant


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
        raise ConfigError(f"{path}: not valid YAML: {_yaml_words(error)}") from None
    if not isinstance(raw, dict):
        kind = {type(None): "nothing", list: "a list", str: "text"}.get(type(raw), repr(raw))
        raise ConfigError(f"{path}: expected a mapping, KEY: VALUE in each line, got {kind}")
    return raw


def _yaml_words(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text around it."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    found = ((error.context, error.context_mark), (error.problem, error.problem_mark))
    words = ", ".join(
        f"{what} (line {mark.line + 1}, column {mark.column + 1})" if mark else what
        for what, mark in found
        if what
    )
    return words + ("; lines are indented by spaces, not by tabs" if r"'\t'" in words else "")


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
                raise ConfigError(
                    f"--set {setting}: {key!r} is no index of a list of {len(node)}, counted from 0"
                )
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


_DEEPEST = 4  # keys within keys
# What pydantic finds of a value, by its name for that, in words of YAML.
_WRONG = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "must be a number"),
    **dict.fromkeys(("list_type", "tuple_type"), "must be a list ([one, another])"),
    **dict.fromkeys(("dict_type", "model_type"), "must be a mapping"),
    "string_type": "must be text",
    "string_pattern_mismatch": "must be of letters, digits, '_' and '-' (a study's name: '.', too)"
    " and begin with a letter or a digit",
}


# Keys that a file of each kind has at its top, and no other kind.
_KINDS = {
    "a study": {"space", "budget"},
    "a search space": {"stages", "blocks"},
    "the card of a table": {"genes", "costs"},
}


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """pydantic's findings as one line: key, what was wrong, what came, what is allowed. A file of
    another kind is called that, and no more."""
    items = error.errors(include_url=False)
    unknown: dict[tuple[int | str, ...], list[str]] = {}  # by the place that they stand in
    for item in items:
        if item["type"] == "extra_forbidden":
            unknown.setdefault(item["loc"][:-1], []).append(str(item["loc"][-1]))
    for kind, keys in _KINDS.items():
        if keys <= {*unknown.get((), ())}:
            return f"it looks like {kind}; allowed are the keys {', '.join(model.model_fields)}"
    above = {item["loc"][:n] for item in items for n in range(len(item["loc"]))}
    found = [
        _finding(item, model)
        for item in items
        # Of a list with wrong entries pydantic counts the right ones, too; what may be text or a
        # mapping it calls wrong twice.
        if not (item["type"] == "too_short" and item["loc"] in above)
        and item["loc"][-1:] != ("dict[str,any]",)
        and item["type"] != "extra_forbidden"
    ]
    return "; ".join([*found, *(_unknown(*each, model) for each in unknown.items())])


def _unknown(place: tuple[int | str, ...], names: list[str], model: type[BaseModel]) -> str:
    """`unknown keys 'budgets' (budget?), 'also.x'; allowed: budget, ...`"""
    owner = _model_at(model, place)
    known = list(owner.model_fields) if owner else []
    above = "".join(f"{step}." for step in place)
    keys = ", ".join(f"{above + name!r}{_near(name, place, known, model)}" for name in names)
    allowed = f"; allowed: {', '.join(known)}" if known else ""
    return f"unknown key{'s' * (len(names) > 1)} {keys}{allowed}"


def _near(name: str, place: tuple[int | str, ...], known: list[str], model: type[BaseModel]) -> str:
    """` (budget?)`: the known key that is meant, or where else the very name is one."""
    near, elsewhere = meant(name, known), _elsewhere(model, (*place, name))
    if elsewhere and name not in near:  # constraints.latency is latency_ms there
        return f" ({elsewhere}?)"
    return near


def _finding(item: ErrorDetails, model: type[BaseModel]) -> str:
    kind, came, loc = item["type"], item["input"], item["loc"]
    either = kind == "string_type" and loc[-1] == "str"  # `space.str`: text, or a mapping
    if either or loc[-1:] == ("[key]",):  # `also.NAME.[key]`: the key itself
        loc = loc[:-1]
    key = ".".join(map(str, loc))
    if kind == "missing":
        return f"{key!r} is missing"
    wrong = _wrong(item)
    got = "" if kind == "value_error" and isinstance(came, dict) else f", got {_as_yaml(came)}"
    if kind == "model_type" and (owner := _model_at(model, loc)):
        wrong += f" (keys: {', '.join(owner.model_fields)})"
    elif kind == "literal_error":
        got += meant(str(came), re.findall(r"'([^']*)'", item["ctx"]["expected"]))
    elif kind == "string_type":
        wrong += " or a mapping" * either
        got += " (in quotes it is)" * isinstance(came, int | float)
    return f"{key and f'{key}: '}{wrong}{got}"


def value_words(error: ValidationError) -> str:
    """What is wrong with a value by itself, as a command's option has it."""
    item = error.errors(include_url=False)[0]
    return f"{_wrong(item)}, got {_as_yaml(item['input'])}"


def _wrong(item: ErrorDetails) -> str:
    return _WRONG.get(item["type"]) or _in_our_words(item["msg"])


def _in_our_words(message: str) -> str:
    """`Tuple should have at least 2 items after validation, not 1` without what pydantic is made
    of, and the texts of our own checks as they are."""
    message = re.sub(r"^\w+ should ", "must ", message.removeprefix("Value error, "))
    message = re.sub(r" after validation, not \d+$", "", message)
    return message[:1].lower() + message[1:]


def _as_yaml(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict) and value:
        return "a mapping"
    return str(value).lower() if isinstance(value, bool) else repr(value)


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


def _elsewhere(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """Where a key of that name stands that is none at loc: below there, else further up; nothing
    where it stands nowhere."""
    for depth in reversed(range(len(loc))):
        owner = _model_at(model, loc[:depth])
        if owner and (found := _key_of(owner, str(loc[-1]))):
            return "".join(f"{key}." for key in loc[:depth]) + found
    return ""


def _key_of(model: type[BaseModel], name: str) -> str:
    """Where a model, or one within it, has a key of that name: `fidelities.0.epochs`, the nearest
    to the top; nothing where none has."""
    level = [("", model)]
    for _ in range(_DEEPEST):
        if found := next((f"{at}{name}" for at, m in level if name in m.model_fields), ""):
            return found
        level = [
            (f"{at}{key}.{'0.' * (get_origin(field.annotation) in (tuple, list))}", inner)
            for at, each in level
            for key, field in each.model_fields.items()
            if get_origin(field.annotation) is not dict  # whose keys are the user's
            for inner in _models_in(field.annotation)
        ]
    return ""


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
