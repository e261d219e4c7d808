"""A search space's YAML read strictly into a value (its keys: search_spaces/README.md)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    Strict,
    ValidationError,
)

from .architecture import Block
from .equal_macs import EqualMacs
from .errors import ArchitectureError, ConfigError, SpaceError, meant
from .layers import DOWNSAMPLES, FORMS, HEADS, STEMS, Downsample, Form, Head, Stem
from .mixers import Mixer, mixer_class
from .parts import Option, P, Part, coerce, lookup, parse_part, words_of
from .strict_yaml import explain, read_yaml

SAME = "same"  # the second half of a stage that does not change its mixer


@dataclasses.dataclass(frozen=True)
class BlockKind:
    """A mixer in a form, with the options that the space fixes for it."""

    form: type[Form]
    mixer: type[Mixer]
    fixed: Mapping[str, Option]

    def takes(self, option: str) -> bool:
        """Whether an option of the space decides something in such a block."""
        return option in _options_of(self.form, self.mixer) and option not in self.fixed

    def build(self, options: Mapping[str, Option]) -> Block:
        given = {**options, **self.fixed}
        form = {k: v for k, v in given.items() if k in self.form.option_types()}
        mixer = {k: v for k, v in given.items() if k in self.mixer.option_types()}
        return Block(self.form(**form), self.mixer(**mixer))

    def read(self, block: Block) -> dict[str, Option] | None:
        """The options of a block of this kind; None when it is of another kind."""
        if type(block.form) is not self.form or type(block.mixer) is not self.mixer:
            return None
        parts: tuple[Part, ...] = (block.mixer, block.form)
        found = {name: getattr(part, name) for part in parts for name in part.option_types()}
        fits = all(found[name] == value for name, value in self.fixed.items())
        return found if fits else None


@dataclasses.dataclass(frozen=True)
class StageChoices:
    depth: tuple[int, ...]
    width: tuple[int, ...]
    mixer: tuple[str, ...]
    second_half: tuple[str, ...]
    window: tuple[int | None, ...]


Scope = Literal["block", "stage", "network"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclasses.dataclass(frozen=True)
class SpaceSpec:
    """Everything that a space's YAML says, checked key by key.

    stems, downsamples, heads: the choices by the words that stand for each in a genome. scopes:
    of the options, what each is one choice for. equal_macs: what widths are scaled to, if at all.
    """

    name: str
    description: str
    input_size: int
    stems: Mapping[str, Stem]
    downsamples: Mapping[str, Downsample]
    heads: Mapping[str, Head]
    stages: tuple[StageChoices, ...]
    kinds: Mapping[str, BlockKind]
    options: Mapping[str, tuple[Option, ...]]
    scopes: Mapping[str, Scope]
    equal_macs: EqualMacs | None
    raw: Mapping[str, Any]

    def scoped(self, scope: Scope) -> frozenset[str]:
        """The options that are one choice for each block, each stage, or the network."""
        return frozenset(name for name, found in self.scopes.items() if found == scope)


def _listed(raw: object) -> object:
    return raw if isinstance(raw, list) else [raw]


def _combinations(raw: object) -> object:
    """`{choose: 2, of: [h, v, w2]}` as the texts `h v`, `h w2` and `v w2`."""
    if not isinstance(raw, Mapping):
        return _listed(raw)
    names, number = raw.get("of"), raw.get("choose")
    if raw.keys() != {"choose", "of"} or not isinstance(names, list):
        raise ValueError("combinations are written {choose: NUMBER, of: [NAME, ...]}")
    if type(number) is not int or not 0 < number <= len(names):
        raise ValueError(f"choose must be 1 to {len(names)}, the number of names under of")
    return [" ".join(map(str, found)) for found in itertools.combinations(names, number)]


def _option(raw: object) -> object:
    """`kernel: [3, 5]` for `kernel: {values: [3, 5]}`."""
    return raw if isinstance(raw, Mapping) else {"values": raw}


def _unique(values: list[Any]) -> list[Any]:
    repeated = [v for i, v in enumerate(values) if v in values[:i]]
    if repeated:
        raise ValueError(f"the value {repeated[0]!r} stands twice")
    return values


_Checks = (BeforeValidator(_listed), AfterValidator(_unique), Field(min_length=1))
_Ints = Annotated[list[Annotated[PositiveInt, Strict()]], *_Checks]
_Names = Annotated[list[str], *_Checks]
_Values = Annotated[list[Any], BeforeValidator(_combinations), Field(min_length=1)]
_Windows = Annotated[list[Annotated[PositiveInt, Strict()] | None], *_Checks]
_Parts = Annotated[list[str | dict[str, Any]], BeforeValidator(_listed), Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Stage(_Strict):
    depth: _Ints
    width: _Ints
    mixer: _Names
    second_half: _Names = [SAME]
    window: _Windows = [None]


class _Option(_Strict):
    values: _Values
    per: Scope = "stage"


class _EqualMacs(_Strict):
    macs: PositiveFloat
    resolution: PositiveInt
    step: PositiveInt = 8


class _File(_Strict):
    name: str
    description: str = ""
    input_size: PositiveInt
    stem: _Parts = ["double_conv"]
    downsample: _Parts = ["conv_norm"]
    head: _Parts = ["mlp"]
    stages: Annotated[list[_Stage], Field(min_length=1)]
    blocks: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    options: dict[str, Annotated[_Option, BeforeValidator(_option)]] = {}
    equal_macs: _EqualMacs | None = None


def read_space(source: Path | Mapping[str, Any]) -> SpaceSpec:
    """The space in a file or mapping; SpaceError names key, what came, what is allowed."""
    where = str(source) if isinstance(source, Path) else "space"
    try:
        raw = read_yaml(source) if isinstance(source, Path) else source
        file = _File.model_validate(raw)
        kinds = {name: _kind(name, entry) for name, entry in file.blocks.items()}
        _check_names(file)
        return SpaceSpec(
            name=file.name,
            description=file.description,
            input_size=file.input_size,
            stems=_parts(file.stem, STEMS, "stem"),
            downsamples=_parts(file.downsample, DOWNSAMPLES, "downsample"),
            heads=_parts(file.head, HEADS, "head"),
            stages=tuple(
                StageChoices(
                    tuple(s.depth),
                    tuple(s.width),
                    tuple(s.mixer),
                    tuple(s.second_half),
                    tuple(s.window),
                )
                for s in file.stages
            ),
            kinds=kinds,
            options={n: _coerced(n, o.values, kinds) for n, o in file.options.items()},
            scopes={n: o.per for n, o in file.options.items()},
            equal_macs=_equal_macs(file),
            raw=raw,
        )
    except ValidationError as error:
        raise SpaceError(f"{where}: {explain(error, _File)}") from None
    except ConfigError as error:  # already names the file
        raise SpaceError(str(error)) from None
    except (ArchitectureError, SpaceError) as error:
        raise SpaceError(f"{where}: {error}") from None


def _equal_macs(file: _File) -> EqualMacs | None:
    """Raises SpaceError where a stage has several widths: they would be proportions to choose from,
    and a genome could not be told from its network."""
    if file.equal_macs is None:
        return None
    for i, stage in enumerate(file.stages, 1):
        if len(stage.width) > 1:
            raise SpaceError(
                f"equal_macs scales widths, so each stage has one; stage {i} has {stage.width}"
            )
    return EqualMacs(**file.equal_macs.model_dump())


def _parts(raw: list[Any], table: Mapping[str, type[P]], kind: str) -> dict[str, P]:
    """The choices of a stem, a downsampler or a head, each by words that tell it apart."""
    found: dict[str, P] = {}
    for entry in raw:
        part = parse_part(entry, table, kind, kind)
        words = words_of(part, table)
        if words in found:
            raise SpaceError(f"{kind}: the value {words!r} stands twice")
        found[words] = part
    return found


def _kind(name: str, entry: Mapping[str, Any]) -> BlockKind:
    place = f"blocks.{name}"
    if not isinstance(entry.get("form"), str):
        raise SpaceError(f"{place}: form is missing; allowed: {', '.join(FORMS)}")
    form = lookup(entry["form"], FORMS, "form", place)
    mixer = mixer_class(str(entry.get("mixer", name)), place)
    known = _options_of(form, mixer)
    fixed = {key: value for key, value in entry.items() if key not in ("form", "mixer")}
    unknown = sorted(fixed.keys() - known.keys())
    if unknown:
        near = meant(str(unknown[0]), (*known, "form", "mixer"))
        raise SpaceError(f"{place}: no option {unknown[0]!r}{near}; it takes {', '.join(known)}")
    return BlockKind(
        form, mixer, {n: coerce(v, known[n], f"{place}.{n}") for n, v in fixed.items()}
    )


@functools.cache  # decoding a genome asks for every option of every stage
def _options_of(form: type[Part], mixer: type[Part]) -> Mapping[str, Any]:
    return {**mixer.option_types(), **form.option_types()}


def _coerced(name: str, values: list[Any], kinds: Mapping[str, BlockKind]) -> tuple[Option, ...]:
    place = f"options.{name}"
    owner = next((kind for kind in kinds.values() if kind.takes(name)), None)
    if owner is None:
        taken = {n for kind in kinds.values() for n in _options_of(kind.form, kind.mixer)}
        near = "" if name in taken else meant(name, sorted(taken))
        raise SpaceError(f"{place}{near}: no block under blocks takes it (or each fixes it)")
    hint = _options_of(owner.form, owner.mixer)[name]
    found = [coerce(value, hint, place) for value in values]
    try:
        return tuple(_unique(found))  # only now: 8/3 and 2.6666666666666665 are one value
    except ValueError as error:
        raise SpaceError(f"{place}: {error}") from None


def _check_names(file: _File) -> None:
    for i, stage in enumerate(file.stages, 1):
        for name in (*stage.mixer, *(n for n in stage.second_half if n != SAME)):
            if name not in file.blocks:
                known = ", ".join(file.blocks)
                near = meant(name, file.blocks)
                raise SpaceError(f"stage {i}: {name!r}{near} is not under blocks ({known})")
