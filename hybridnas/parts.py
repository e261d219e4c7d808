"""A part of an architecture: a small frozen set of options that can build and count itself.

Stems, downsamplers, block forms, mixers and heads are all parts. A part is a frozen dataclass
whose fields are its options. In JSON and YAML it stands as its name alone where every option is
at its default ("gated_conv"), else as a mapping: {"name": "gated_conv", "kernel": 3}.
"""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ArchitectureError, meant

Option = int | float | bool | str | None


@dataclasses.dataclass(frozen=True)
class Part:
    """Base of all parts: types of options are checked, numbers brought to their field's type.

    A subclass overrides `check` for what its options must keep among themselves.
    """

    kind: ClassVar[str] = "part"

    def __post_init__(self) -> None:
        for name, hint in type(self).option_types().items():
            value = coerce(getattr(self, name), hint, f"{self.label}: {name}")
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Raises ArchitectureError for options that cannot go together."""

    @property
    def label(self) -> str:
        return f"{self.kind} {type(self).__name__}"

    @classmethod
    def option_types(cls) -> Mapping[str, Any]:
        """The options by name with their types, in the order of the fields."""
        return _option_types(cls)  # type: ignore[arg-type]

    def options(self) -> dict[str, Option]:
        """The options that are not at their default.

        Only these go into the canonical JSON, so a digest does not change when a later version
        adds an option whose default means what was done before.
        """
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        }


P = TypeVar("P", bound=Part)


def dump(part: Part, table: Mapping[str, type[Part]]) -> str | dict[str, Option]:
    """The JSON form of a part: its name, or a mapping of name and options."""
    name = name_of(type(part), table)
    options = part.options()
    return {"name": name, **options} if options else name


def words_of(part: Part, table: Mapping[str, type[Part]]) -> str:
    """A part in words: its name, and the options that are not at their default."""
    options = (f"{name} {value}" for name, value in part.options().items())
    return ", ".join((name_of(type(part), table), *options))


def name_of(cls: type[Part], table: Mapping[str, type[Part]]) -> str:
    """The name a part's class goes by; a class outside the table by its import path."""
    for name, known in table.items():
        if known is cls:
            return name
    return f"{cls.__module__}:{cls.__qualname__}"


def parse_part(raw: object, table: Mapping[str, type[P]], kind: str, where: str) -> P:
    """The part that a name, or a mapping of name and options, describes."""
    if isinstance(raw, str):
        raw = {"name": raw}
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise ArchitectureError(
            f"{where}: a {kind} is a name or a mapping with a name, got {raw!r}; "
            f"known: {', '.join(table)}"
        )
    options = {key: value for key, value in raw.items() if key != "name"}
    return build_part(lookup(raw["name"], table, kind, where), options, where)


def lookup(name: str, table: Mapping[str, type[P]], kind: str, where: str) -> type[P]:
    """The class of that name in a table."""
    if name not in table:
        near, known = meant(name, table), ", ".join(table)
        raise ArchitectureError(f"{where}: unknown {kind} {name!r}{near}; known: {known}")
    return table[name]


def build_part(cls: type[P], options: Mapping[str, Any], where: str) -> P:
    """A part from its options; unknown and missing ones are errors that list the known."""
    known = cls.option_types()
    unknown = sorted(options.keys() - known.keys(), key=str)
    if unknown:
        raise ArchitectureError(
            f"{where}: {cls.kind} {cls.__name__} has no option {', '.join(map(repr, unknown))}"
            f"{meant(str(unknown[0]), known)}; it takes {', '.join(known) or 'none'}"
        )
    try:
        return cls(**options)
    except TypeError as error:
        raise ArchitectureError(f"{where}: {cls.kind} {cls.__name__}: {error}") from None
    except ArchitectureError as error:
        raise ArchitectureError(f"{where}: {error}") from None


@functools.cache
def _option_types(cls: type[Part]) -> Mapping[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def coerce(value: object, hint: Any, where: str) -> Option:
    """value as the option's type; `8/3` and whole numbers are floats where one is expected."""
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        return coerce(value, next(a for a in get_args(hint) if a is not types.NoneType), where)
    if get_origin(hint) is Literal:
        allowed = get_args(hint)
        if value in allowed and type(value) is type(allowed[allowed.index(value)]):
            return value  # type: ignore[return-value]
        near = meant(str(value), map(str, allowed))
        raise ArchitectureError(
            f"{where} must be one of {', '.join(map(repr, allowed))}, got {value!r}{near}"
        )
    if hint is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            fraction = isinstance(value, str) and "/" in value
            number = float(Fraction(value) if fraction else value) + 0.0  # no -0.0: one digest
        except (ValueError, ZeroDivisionError, OverflowError):
            number = float("nan")
        if number == number and abs(number) != float("inf"):
            return number
    elif type(value) is hint:
        return value  # type: ignore[return-value]
    raise ArchitectureError(f"{where} must be {hint.__name__}, got {value!r}")
