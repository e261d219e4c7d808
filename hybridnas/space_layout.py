"""What a genome says of a network, before any part of it is built.

A search looks at thousands of genomes for every network that it trains, so what it asks of them
(MACs, which genes apply) is answered from here.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from .parts import Option
from .space_spec import SAME, SCOPES, Scope, SpaceSpec

Values = tuple[Option, ...]


class Run(NamedTuple):
    """Equal blocks in a row: their kind, the values of the options it takes, and how many."""

    kind: str
    values: Values
    number: int


class StageLayout(NamedTuple):
    width: int
    window: int | None
    runs: tuple[Run, ...]


class Layout(NamedTuple):
    """stem, downsample, head: the words that stand for them in a genome."""

    stem: str
    downsample: str
    head: str
    stages: tuple[StageLayout, ...]


class LayoutReader:
    """Genes of a space, and what their values say.

    choices: values by gene, in the order of the network, genes with one value included. takes: the
    options that decide something in each kind of block.
    """

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        self.scoped = {scope: spec.scoped(scope) for scope in SCOPES}
        self.takes = {
            name: [option for option in spec.options if kind.takes(option)]
            for name, kind in spec.kinds.items()
        }
        self.choices: dict[str, Values] = dict(self._all_choices())
        self._first = {name: values[0] for name, values in self.choices.items()}
        self._genes: dict[tuple[int, int, str], list[str]] = {}
        self._getters: dict[tuple[int, int, str], Callable[[Mapping[str, Any]], Values]] = {}
        for i, stage in enumerate(spec.stages, 1):
            for j, kind in itertools.product(range(max(stage.depth)), self.kinds_in(i)):
                names = [self.gene(i, j, option) for option in self.takes[kind]]
                self._genes[i, j, kind] = names
                self._getters[i, j, kind] = _getter(names)
        plain = ("depth", "width", "mixer", "second_half", "window")
        self._plain = [
            itemgetter(*(f"stage{i}.{name}" for name in plain))
            for i in range(1, len(spec.stages) + 1)
        ]

    def _all_choices(self) -> Iterator[tuple[str, Values]]:
        spec = self.spec
        yield from (("stem", tuple(spec.stems)), ("downsample", tuple(spec.downsamples)))
        for i, stage in enumerate(spec.stages, 1):
            for name in ("depth", "width", "mixer", "second_half", "window"):
                yield f"stage{i}.{name}", getattr(stage, name)
            taken = {option for kind in self.kinds_in(i) for option in self.takes[kind]}
            scopes: tuple[tuple[Scope, int], ...] = (("stage", 1), ("block", max(stage.depth)))
            for scope, blocks in scopes:
                for block, option in itertools.product(range(blocks), spec.options):
                    if spec.scopes[option] == scope and option in taken:
                        yield self.gene(i, block, option), spec.options[option]
        for option in spec.options:
            if spec.scopes[option] == "network":
                yield option, spec.options[option]
        yield "head", tuple(spec.heads)

    def gene(self, stage: int, block: int, option: str) -> str:
        """The gene that decides an option there; stages count from 1, blocks from 0 here."""
        scope = self.spec.scopes[option]
        if scope == "network":
            return option
        return f"stage{stage}.{option if scope == 'stage' else f'block{block + 1}.{option}'}"

    def kinds_in(self, i: int) -> list[str]:
        """The kinds of block that stage i (from 1) may have."""
        stage = self.spec.stages[i - 1]
        return list(dict.fromkeys(k for k in (*stage.mixer, *stage.second_half) if k != SAME))

    def full(self, genome: Mapping[str, Option]) -> dict[str, Any]:
        """Every gene's value; genes that a genome leaves out take their first choice."""
        return {**self._first, **genome}

    def layout(self, genome: Mapping[str, Option]) -> Layout:
        full = self.full(genome)
        stages = tuple(self.stage(i, full) for i in range(1, len(self._plain) + 1))
        return Layout(full["stem"], full["downsample"], full["head"], stages)

    def stage(self, i: int, full: Mapping[str, Any]) -> StageLayout:
        """Stage i (from 1)."""
        depth, width, first, second, window = self._plain[i - 1](full)
        early, late = depth - depth // 2, first if second == SAME else second
        if self.scoped["block"]:
            kinds = (first if j < early else late for j in range(depth))
            runs = tuple(Run(k, self._getters[i, j, k](full), 1) for j, k in enumerate(kinds))
        else:
            runs = (Run(first, self._getters[i, 0, first](full), early),)
            if depth > 1:
                runs += (Run(late, self._getters[i, 0, late](full), depth // 2),)
        return StageLayout(width, window, runs)

    def kinds(self, genome: Mapping[str, Option]) -> Iterator[tuple[str, int]]:
        """Kinds of block, and how many blocks in a row are of each."""
        full = self.full(genome)
        for plain in self._plain:
            depth, _, first, second, _ = plain(full)
            yield first, depth - depth // 2
            yield first if second == SAME else second, depth // 2

    def applying(self, genome: Mapping[str, Option]) -> dict[str, Option]:
        """The genes that decide something in this network, with what they decide: a change of mixer
        that changes nothing is none."""
        full = self.full(genome)
        found = {name: full[name] for name in ("stem", "downsample", "head")}
        for i, spec in enumerate(self.spec.stages, 1):
            depth, width, first, second, window = self._plain[i - 1](full)
            late = first if second == SAME or depth < 2 else second
            same = late == first and SAME in spec.second_half
            found[f"stage{i}.depth"], found[f"stage{i}.width"] = depth, width
            found[f"stage{i}.window"], found[f"stage{i}.mixer"] = window, first
            if (
                depth > 1 or late in spec.second_half or same
            ):  # else it has no say, and no such word
                found[f"stage{i}.second_half"] = SAME if same else late
            early = depth - depth // 2
            blocks = range(depth) if self.scoped["block"] else {0, early} - {depth}
            for j in blocks:
                for name in self._genes[i, j, first if j < early else late]:
                    found[name] = full[name]
        return found


def _getter(names: list[str]) -> Callable[[Mapping[str, Any]], Values]:
    """The values of these genes, always as a tuple."""
    if len(names) < 2:
        return lambda full: tuple(full[name] for name in names)
    return itemgetter(*names)
