"""Decisions and choices of a space that change no network: a mistake in most spaces that have them.

A search is none the wiser for them, but asks its sampler about more than there is.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping

from .parts import Option
from .space_layout import LayoutReader
from .space_spec import SAME, SpaceSpec, StageChoices


def idle_decisions(spec: SpaceSpec) -> dict[str, str]:
    """By decision what is wrong with it, as `changes nothing: the stage has one block`; none where
    each choice makes a network of its own somewhere.

    Two values of an option count as two networks, even where rounding makes their layers alike.
    """
    reader = LayoutReader(spec)
    applying = set(_applying(reader))
    choices = [name for name, values in reader.choices.items() if len(values) > 1]
    words = {name: _idle(spec, name, applying) for name in choices}
    return {name: said for name, said in words.items() if said}


def idle_words(spec: SpaceSpec) -> list[str]:
    """A line each: `decision stage1.kernel changes nothing: no block that it is for takes it`."""
    return [f"decision {name} {words}" for name, words in idle_decisions(spec).items()]


def _idle(spec: SpaceSpec, name: str, applying: Collection[str]) -> str:
    """What is wrong with a decision that has several choices; empty: nothing."""
    stage, _, part = name.partition(".")
    if part == "second_half":
        return _second_half(spec.stages[int(stage.removeprefix("stage")) - 1])
    if name == "downsample":
        return "changes nothing: there is one stage" if len(spec.stages) == 1 else ""
    return "" if name in applying else "changes nothing: no block that it is for takes it"


def _applying(reader: LayoutReader) -> Iterator[str]:
    """Decisions that apply to some network."""
    for i, stage in enumerate(reader.spec.stages, 1):
        for depth, mixer, half in itertools.product(stage.depth, stage.mixer, stage.second_half):
            genome: dict[str, Option] = {"depth": depth, "mixer": mixer, "second_half": half}
            yield from reader.applying({f"stage{i}.{name}": v for name, v in genome.items()})


def _second_half(stage: StageChoices) -> str:
    """Empty where each choice makes a stage that no other makes."""
    if max(stage.depth) == 1:
        return "changes nothing: the stage has one block"
    known: dict[tuple[str, ...], str] = {}
    alike: Mapping[str, str] = {
        half: first
        for half in stage.second_half
        for first in [known.setdefault(tuple(_late(stage, half)), half)]
        if first != half
    }
    if len(known) == 1:
        return "changes nothing: all of its choices mean the same"
    same = ", ".join(f"{half} means the same as {first}" for half, first in alike.items())
    return same and f"has several words for one choice: {same}"


def _late(stage: StageChoices, half: str) -> Iterator[str]:
    """The mixer of the last blocks with each mixer of the first ones."""
    return (mixer if half == SAME else half for mixer in stage.mixer)
