"""The search space: what may vary, between which values, and what that makes of a network.

A space is a flat list of genes, one categorical choice a decision ("stage3.mixer"). Decoding
a genome gives an architecture; genes that do not apply (the kernel of an attention stage) are
ignored, so several genomes can mean one architecture. YAML: search_spaces/README.md.
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from .architecture import Architecture, Block, Stage
from .equal_macs import check_step, with_equal_macs
from .errors import ArchitectureError, SpaceError
from .parts import Option
from .resources import find
from .space_layout import Layout, LayoutReader, StageLayout, Values
from .space_spec import SAME, SpaceSpec, read_space

Genome = dict[str, Option]


class SearchSpace:
    """Architectures that a search may propose; made by `SearchSpace.load`."""

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        self._layouts = LayoutReader(spec)
        self._check_buildable()

    @classmethod
    def load(cls, source: str | Path | Mapping[str, Any]) -> SearchSpace:
        """A shipped space by name, one from a YAML file, or one that a mapping spells out.

        Raises SpaceError that names the key, what came and what is allowed.
        """
        if isinstance(source, Mapping):
            return cls(read_space(source))
        return cls(read_space(find("search_spaces", source)))

    @property
    def name(self) -> str:
        return self.spec.name

    @functools.cached_property
    def genes(self) -> dict[str, tuple[Option, ...]]:
        """What there is to decide: choices by gene, in the order of the network."""
        return {name: values for name, values in self._layouts.choices.items() if len(values) > 1}

    def layout(self, genome: Mapping[str, Option]) -> Layout:
        """What a genome says of the network; with `equal_macs`, after its widths were scaled."""
        layout = self._layouts.layout(genome)
        return layout if self.spec.equal_macs is None else self._scaled(layout)

    def kinds(self, genome: Mapping[str, Option]) -> Iterator[tuple[str, int]]:
        """The kinds of block in a genome's network, with how many are in a row."""
        return self._layouts.kinds(genome)

    def decode(self, genome: Mapping[str, Option]) -> Architecture:
        """The architecture of a genome; genes that it leaves out take their first choice."""
        return self._built(self.layout(genome))

    def _built(self, layout: Layout) -> Architecture:
        return Architecture(
            tuple(self._stage(stage) for stage in layout.stages),
            self.spec.stems[layout.stem],
            self.spec.downsamples[layout.downsample],
            self.spec.heads[layout.head],
        )

    @functools.cached_property
    def _scaled(self) -> Callable[[Layout], Layout]:
        """A layout with the widths that give it the space's MACs."""

        # As with blocks: a cache on the class would keep every space alive.
        @functools.cache
        def scaled(layout: Layout) -> Layout:
            assert self.spec.equal_macs is not None
            found = with_equal_macs(self._built(layout), self.spec.equal_macs)
            pairs = zip(layout.stages, found.stages, strict=True)
            return layout._replace(
                stages=tuple(stage._replace(width=new.width) for stage, new in pairs)
            )

        return scaled

    def _stage(self, layout: StageLayout) -> Stage:
        runs = ((self.block(run.kind, run.values), run.number) for run in layout.runs)
        blocks = tuple(block for block, number in runs for _ in range(number))
        return Stage(layout.width, blocks, layout.window)

    @functools.cached_property
    def block(self) -> Callable[[str, Values], Block]:
        """The block of a kind, from the values of the options that it takes."""

        # Bound to the instance: a cache on the class would keep every space alive.
        @functools.cache
        def build(kind: str, values: Values) -> Block:
            taken = zip(self._layouts.takes[kind], values, strict=True)
            return self.spec.kinds[kind].build(dict(taken))

        return build

    def encode(self, architecture: Architecture) -> Genome:
        """The genome of an architecture, genes that do not apply at their first choice.

        Raises SpaceError for an architecture outside of the space.
        """
        genome: Genome = {name: values[0] for name, values in self.genes.items()}
        if len(architecture.stages) == len(self.spec.stages):
            found = self._read(architecture)
            genome |= {n: v for n, v in found.items() if v in self.genes.get(n, ())}
            if self.decode(genome) == architecture:
                return genome
        raise SpaceError(f"architecture {architecture.digest} is not in the space {self.name!r}")

    def categories(self, genome: Mapping[str, Option]) -> tuple[int, ...]:
        """The index of each gene's choice, in the order of `genes`; -1 where the gene does not
        apply. Equal for two genomes exactly when they mean one architecture.
        """
        found = self._layouts.applying(genome)
        pairs = self.genes.items()
        return tuple(values.index(found[name]) if name in found else -1 for name, values in pairs)

    def _read(self, architecture: Architecture) -> dict[str, Option]:
        """The choices that an architecture shows; no more than those, and a None that is no
        choice where a part is none of the space's."""
        found: dict[str, Option] = {}
        for gene, parts, part in (
            ("stem", self.spec.stems, architecture.stem),
            ("downsample", self.spec.downsamples, architecture.downsample),
            ("head", self.spec.heads, architecture.head),
        ):
            found[gene] = next((words for words, known in parts.items() if known == part), None)
        for i, stage in enumerate(architecture.stages, 1):
            self._read_stage(i, stage, found)
        return found

    def _read_stage(self, i: int, stage: Stage, found: dict[str, Option]) -> None:
        first, last = self._kind_of(i, stage.blocks[0]), self._kind_of(i, stage.blocks[-1])
        found[f"stage{i}.depth"], found[f"stage{i}.width"] = stage.depth, stage.width
        found[f"stage{i}.window"], found[f"stage{i}.mixer"] = stage.window, first
        same = last == first and SAME in self.spec.stages[i - 1].second_half
        found[f"stage{i}.second_half"] = SAME if same else last
        early = stage.depth - stage.depth // 2
        for j, block in reversed(list(enumerate(stage.blocks))):
            kind = first if j < early else last
            options = self.spec.kinds[kind].read(block) if kind else None
            for name, value in (options or {}).items():
                if kind and name in self._layouts.takes[kind]:
                    found[self._layouts.gene(i, j, name)] = value

    def blocks_in(self, i: int) -> Iterator[Block]:
        """Every block that stage i (from 1) may hold, with every choice of its options."""
        for kind in self._layouts.kinds_in(i):
            names = self._layouts.takes[kind]
            for values in itertools.product(*(self.spec.options[n] for n in names)):
                yield self.block(kind, values)

    def _kind_of(self, i: int, block: Block) -> str | None:
        return next((kind for kind in self._layouts.kinds_in(i) if self._makes(kind, block)), None)

    def _makes(self, kind: str, block: Block) -> bool:
        """Whether some choice of the options makes that block of the kind."""
        found = self.spec.kinds[kind].read(block)
        if found is None:
            return False
        names = self._layouts.takes[kind]
        known = all(found[name] in self.spec.options[name] for name in names)
        return known and self.block(kind, tuple(found[name] for name in names)) == block

    def contains(self, architecture: Architecture) -> bool:
        try:
            self.encode(architecture)
        except SpaceError:
            return False
        return True

    def all_genomes(self) -> Iterator[Genome]:
        """A genome of each architecture."""
        seen = set()
        for values in itertools.product(*self.genes.values()):
            genome = dict(zip(self.genes, values, strict=True))
            if (categories := self.categories(genome)) not in seen:
                seen.add(categories)
                yield genome

    def random_genome(self, rng: random.Random) -> Genome:
        """Every gene drawn evenly from its choices."""
        return {name: rng.choice(values) for name, values in self.genes.items()}

    def sample(self, rng: random.Random) -> Architecture:
        """An architecture whose genes are drawn evenly."""
        return self.decode(self.random_genome(rng))

    def mutate(
        self, architecture: Architecture, rng: random.Random, num_genes: int = 1
    ) -> Architecture:
        """A different architecture of the space, num_genes changes away (or fewer).

        Raises SpaceError for an architecture outside of the space, or a space of one.
        """
        genome = self.encode(architecture)
        if self.size() == 1:
            raise SpaceError(f"the space {self.name!r} holds one architecture: nothing to mutate")
        mutant = architecture
        while mutant == architecture:  # genes that do not apply change nothing: draw others
            changed = dict(genome)
            for name in rng.sample(sorted(self.genes), min(num_genes, len(self.genes))):
                changed[name] = rng.choice([v for v in self.genes[name] if v != genome[name]])
            mutant = self.decode(changed)
        return mutant

    def size(self) -> int:
        """How many different architectures the space holds, exactly.

        Stage by stage, by the set of block kinds used so far: an option of the whole network
        multiplies the count only where some stage uses it.
        """
        by_used: Counter[frozenset[str]] = Counter({frozenset(): 1})
        for i in range(1, len(self.spec.stages) + 1):
            step: Counter[frozenset[str]] = Counter()
            for used, number in by_used.items():
                for kinds, ways in self._stage_ways(i).items():
                    step[used | kinds] += number * ways
            by_used = step
        spec = self.spec
        around = len(spec.stems) * len(spec.downsamples) * len(spec.heads)
        shared = self._layouts.scoped["network"]
        return around * sum(n * self._option_ways(shared, used) for used, n in by_used.items())

    def _stage_ways(self, i: int) -> Counter[frozenset[str]]:
        """Different stages by the kinds of block in them."""
        stage = self.spec.stages[i - 1]
        layouts = set()
        for depth, first, second in itertools.product(stage.depth, stage.mixer, stage.second_half):
            changes = depth > 1 and second not in (SAME, first)
            layouts.add((depth, first, second if changes else first))
        ways: Counter[frozenset[str]] = Counter()
        of_blocks, of_stages = self._layouts.scoped["block"], self._layouts.scoped["stage"]
        for depth, first, second in layouts:
            kinds = frozenset((first, second))
            shapes = len(stage.width) * len(stage.window)
            for kind, blocks in ((first, depth - depth // 2), (second, depth // 2)):
                shapes *= self._option_ways(of_blocks, frozenset((kind,))) ** blocks
            ways[kinds] += shapes * self._option_ways(of_stages, kinds)
        return ways

    def _option_ways(self, names: Set[str], kinds: frozenset[str]) -> int:
        active = (n for n in names if any(n in self._layouts.takes[kind] for kind in kinds))
        return math.prod(len(self.spec.options[n]) for n in active)

    def _check_buildable(self) -> None:
        """Every width with every kind of block and every combination of its options."""
        for i, stage in enumerate(self.spec.stages, 1):
            where = f"space {self.name!r}, stage {i}"
            made_by: dict[Block, str] = {}
            for kind in self._layouts.kinds_in(i):
                names = self._layouts.takes[kind]
                for values in itertools.product(*(self.spec.options[n] for n in names)):
                    options = dict(zip(names, values, strict=True))
                    for width in stage.width:
                        block = self._check_block(kind, options, width, where)
                    if (other := made_by.setdefault(block, kind)) != kind:
                        raise SpaceError(f"{where}: {other} and {kind} make the same block")
        self._check_around()
        if self.spec.equal_macs:  # a search must not meet what cannot be scaled
            drawn = map(self.random_genome, [random.Random(0)] * 200)
            for genome in self.all_genomes() if self.size() <= 200 else drawn:
                self.layout(genome)

    def _check_around(self) -> None:
        """Every stem with every width and window of the first stage."""
        first, *others = (self._stage(stage) for stage in self.layout({}).stages)
        for stem, width, window in itertools.product(
            self.spec.stems.values(), self.spec.stages[0].width, self.spec.stages[0].window
        ):
            try:
                Architecture((Stage(width, first.blocks, window), *others), stem)
            except ArchitectureError as error:
                where = f"space {self.name!r}, stage 1 with width {width}"
                raise SpaceError(f"{where}: {error}") from None

    def _check_block(self, kind: str, options: dict[str, Option], width: int, where: str) -> Block:
        try:
            block = self.block(kind, tuple(options.values()))
            Stage(width, (block,))
            if self.spec.equal_macs:
                check_step(block, width, self.spec.equal_macs)
            return block
        except (ArchitectureError, TypeError) as error:  # TypeError: an option without a value
            words = ", ".join(f"{n} {v}" for n, v in {"width": width, **options}.items())
            raise SpaceError(f"{where}, {kind} with {words}: {error}") from None
