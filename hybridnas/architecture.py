"""The value in the middle: an architecture fixes a network's shape, and nothing else.

Strict JSON or YAML in, canonical JSON out; equal architectures have equal digests.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .counting import number_of
from .errors import ArchitectureError, meant
from .layers import DOWNSAMPLES, FORMS, HEADS, STEMS, Downsample, Form, Head, Stem
from .layers.blocks import Gated
from .layers.downsamples import ConvNorm
from .layers.heads import MlpHead
from .layers.stems import DoubleConv
from .mixers import MIXERS, Mixer, mixer_class
from .parts import build_part, dump, name_of, parse_part


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block: a mixer, and the form that wraps it."""

    form: Form
    mixer: Mixer

    @property
    def mixer_name(self) -> str:
        return name_of(type(self.mixer), MIXERS)


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks at one resolution, first block first; they may differ, so that a stage can change
    its mixer half way.

    width: channels of the map. window: side of the windows that the map is cut into, padded at
    the right and the bottom, so that blocks mix inside of a window only (MambaVision); None: the
    whole map.
    """

    width: int
    blocks: tuple[Block, ...]
    window: int | None = None

    def __post_init__(self) -> None:
        if type(self.width) is not int or self.width < 1:
            raise ArchitectureError(f"stage width must be a positive integer, got {self.width!r}")
        if self.window is not None and (type(self.window) is not int or self.window < 1):
            raise ArchitectureError(f"window must be a positive integer, got {self.window!r}")
        if not self.blocks:
            raise ArchitectureError("a stage needs at least one block")
        for block, _ in self.runs():
            block.form.check_width(block.mixer, self.width)

    @property
    def depth(self) -> int:
        return len(self.blocks)

    def runs(self) -> Iterator[tuple[Block, int]]:
        """Equal neighbours as (block, how often)."""
        return ((block, len(list(same))) for block, same in itertools.groupby(self.blocks))

    @property
    def short(self) -> str:
        """Letter and number of blocks of each mixer in turn: S9, or S5A4 for a change half way."""
        by_letter = itertools.groupby(block.mixer.letter for block in self.blocks)
        return "".join(f"{letter}{len(list(same))}" for letter, same in by_letter)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One network's shape. `downsample` stands before every stage but the first."""

    stages: tuple[Stage, ...]
    stem: Stem = field(default_factory=DoubleConv)
    downsample: Downsample = field(default_factory=ConvNorm)
    head: Head = field(default_factory=MlpHead)

    def __post_init__(self) -> None:
        if not self.stages:
            raise ArchitectureError("an architecture needs at least one stage")
        self.stem.check_width(self.stages[0].width)
        if self.stem.token_place != "none" and (len(self.stages) > 1 or self.stages[0].window):
            raise ArchitectureError(
                f"{self.stem.label}: a class token makes the map a sequence, so the architecture "
                f"must have one stage and no windows, got {number_of(len(self.stages), 'stage')}, "
                f"windows of {self.stages[0].window}"
            )
        if self.stem.token_place != "none" and self.head.norm == "batch":
            raise ArchitectureError(
                f"{self.head.label}: norm 'batch' works on maps, but a class token makes the map a "
                f"sequence: use another norm"
            )

    @property
    def digest(self) -> str:
        """12 hex digits of the canonical JSON: the architecture's key in the database."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @property
    def short(self) -> str:
        """Mixers and depths at a glance, G3-G3-S9-A3."""
        return "-".join(stage.short for stage in self.stages)

    def describe(self) -> list[str]:
        """One readable line a stage."""
        lines = []
        for stage in self.stages:
            runs = (f"{n} x {_words(block)}" for block, n in stage.runs())
            window = f", windows of {stage.window}" if stage.window else ""
            lines.append(f"width {stage.width}{window}: {', then '.join(runs)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        return {
            "stem": dump(self.stem, STEMS),
            "downsample": dump(self.downsample, DOWNSAMPLES),
            "stages": [_dump_stage(stage) for stage in self.stages],
            "head": dump(self.head, HEADS),
        }

    def to_json(self) -> str:
        """Canonical: sorted keys, no spaces, equal neighbours merged, defaults left out."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Architecture:
        """The architecture a mapping describes; ArchitectureError says what to mend."""
        _check_keys(raw, {"stages"}, {"stem", "downsample", "head"}, "architecture")
        stages = _sequence(raw["stages"], "stages")
        given: dict[str, Any] = {}
        if "stem" in raw:
            given["stem"] = parse_part(raw["stem"], STEMS, "stem", "stem")
        if "downsample" in raw:
            given["downsample"] = parse_part(
                raw["downsample"], DOWNSAMPLES, "downsample", "downsample"
            )
        if "head" in raw:
            given["head"] = parse_part(raw["head"], HEADS, "head", "head")
        parsed = (_parse_stage(stage, f"stages[{i}]") for i, stage in enumerate(stages))
        return cls(stages=tuple(parsed), **given)

    @classmethod
    def from_json(cls, text: str) -> Architecture:
        try:
            raw = json.loads(text, object_pairs_hook=_unique_keys)
        except json.JSONDecodeError as error:
            raise ArchitectureError(f"not valid JSON: {error}") from None
        return cls.from_dict(_mapping(raw, "architecture"))

    @classmethod
    def load(cls, path: Path) -> Architecture:
        """From a .json file, or one of YAML."""
        from .strict_yaml import read_yaml  # which stand-alone exports do without

        try:
            if path.suffix == ".json":
                return cls.from_json(path.read_text(encoding="utf-8"))
            return cls.from_dict(read_yaml(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ArchitectureError(f"{path}: cannot be read ({error})") from None
        except ArchitectureError as error:
            raise ArchitectureError(f"{path}: {error}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    repeated = [key for i, key in enumerate(keys) if key in keys[:i]]
    if repeated:
        raise ArchitectureError(f"not valid JSON: the key {repeated[0]!r} stands twice")
    return dict(pairs)


def _words(block: Block) -> str:
    options = {**block.mixer.options(), **block.form.options()}
    words = [] if type(block.form) is Gated else [name_of(type(block.form), FORMS)]
    words += [f"{key} {_number(value)}" for key, value in options.items()]
    return f"{block.mixer_name} ({', '.join(words)})" if words else block.mixer_name


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _dump_stage(stage: Stage) -> dict[str, Any]:
    blocks = []
    for block, repeat in stage.runs():
        form = dump(block.form, FORMS)
        blocks.append({"repeat": repeat, "form": form, "mixer": dump(block.mixer, MIXERS)})
    window = {} if stage.window is None else {"window": stage.window}
    return {"width": stage.width, **window, "blocks": blocks}


def _parse_stage(raw: object, where: str) -> Stage:
    mapping = _mapping(raw, where)
    _check_keys(mapping, {"width", "blocks"}, {"window"}, where)
    blocks: list[Block] = []
    for i, item in enumerate(_sequence(mapping["blocks"], f"{where}.blocks")):
        place = f"{where}.blocks[{i}]"
        entry = _mapping(item, place)
        _check_keys(entry, {"form", "mixer"}, {"repeat"}, place)
        repeat = entry.get("repeat", 1)
        if type(repeat) is not int or repeat < 1:
            raise ArchitectureError(f"{place}: repeat must be a positive integer, got {repeat!r}")
        form = parse_part(entry["form"], FORMS, "form", f"{place}.form")
        blocks += [Block(form, parse_mixer(entry["mixer"], f"{place}.mixer"))] * repeat
    try:
        return Stage(mapping["width"], tuple(blocks), mapping.get("window"))
    except ArchitectureError as error:
        raise ArchitectureError(f"{where}: {error}") from None


def parse_mixer(raw: object, where: str) -> Mixer:
    """A mixer from its name, or a mapping of name and options; the name may be `module:Class`."""
    entry = {"name": raw} if isinstance(raw, str) else _mapping(raw, where)
    name = entry.get("name")
    if not isinstance(name, str):
        raise ArchitectureError(f"{where}: name is missing; known: {', '.join(MIXERS)}")
    options = {key: value for key, value in entry.items() if key != "name"}
    return build_part(mixer_class(name, where), options, where)


def _mapping(raw: object, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise ArchitectureError(f"{where}: expected a mapping, got {raw!r}")
    return raw


def _sequence(raw: object, where: str) -> Sequence[Any]:
    if not isinstance(raw, list | tuple) or not raw:
        raise ArchitectureError(f"{where}: expected a list with at least one entry, got {raw!r}")
    return raw


def _check_keys(raw: Mapping[str, Any], needed: set[str], optional: set[str], where: str) -> None:
    unknown = sorted(raw.keys() - needed - optional, key=str)
    missing = sorted(needed - raw.keys())
    if unknown:
        allowed = sorted(needed | optional)
        near = meant(str(unknown[0]), allowed)
        raise ArchitectureError(
            f"{where}: unknown key {unknown[0]!r}{near}; allowed: {', '.join(allowed)}"
        )
    if missing:
        raise ArchitectureError(f"{where}: {missing[0]!r} is missing")
