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
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from .architecture import Architecture, Block, Stage
from .errors import ArchitectureError, SpaceError
from .parts import Option
from .resources import find
from .space_spec import SAME, SpaceSpec, read_space

Genome = dict[str, Option]


class SearchSpace:
    """Architectures that a search may propose; made by `SearchSpace.load`."""

    def __init__(self, spec: SpaceSpec) -> None:
        self.spec = spec
        self._choices = dict(self._all_choices())
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
        return {name: values for name, values in self._choices.items() if len(values) > 1}

    def _all_choices(self) -> Iterator[tuple[str, tuple[Option, ...]]]:
        for i, stage in enumerate(self.spec.stages, 1):
            for name in ("depth", "width", "mixer", "second_half"):
                yield f"stage{i}.{name}", getattr(stage, name)
            for option, values in self.spec.options.items():
                if option in self.spec.per_stage:
                    yield f"stage{i}.{option}", values
        for option, values in self.spec.options.items():
            if option not in self.spec.per_stage:
                yield option, values

    def decode(self, genome: Mapping[str, Option]) -> Architecture:
        """The architecture of a genome; genes that it leaves out take their first choice."""
        full = {name: genome.get(name, values[0]) for name, values in self._choices.items()}
        stages = []
        for i in range(1, len(self.spec.stages) + 1):
            depth, width = full[f"stage{i}.depth"], full[f"stage{i}.width"]
            first, second = full[f"stage{i}.mixer"], full[f"stage{i}.second_half"]
            options = {n: full[self._gene(i, n)] for n in self.spec.options}
            late = self._block(str(first if second == SAME else second), options)
            half = int(depth) // 2  # type: ignore[arg-type]
            early = self._block(str(first), options)
            blocks = (early,) * (int(depth) - half) + (late,) * half  # type: ignore[arg-type]
            stages.append(Stage(int(width), blocks))  # type: ignore[arg-type]
        return Architecture(tuple(stages), self.spec.stem, self.spec.downsample, self.spec.head)

    def _gene(self, stage: int, option: str) -> str:
        return f"stage{stage}.{option}" if option in self.spec.per_stage else option

    def _block(self, kind: str, options: Mapping[str, Option]) -> Block:
        taken = tuple((n, v) for n, v in options.items() if self.spec.kinds[kind].takes(n))
        return self._cached_block(kind, taken)

    @functools.cached_property
    def _cached_block(self) -> Any:
        # Bound to the instance: a cache on the class would keep every space alive.
        return functools.lru_cache(maxsize=None)(
            lambda kind, taken: self.spec.kinds[kind].build(dict(taken))
        )

    def encode(self, architecture: Architecture) -> Genome:
        """The genome of an architecture, genes that do not apply at their first choice.

        Raises SpaceError for an architecture outside of the space.
        """
        genome: Genome = {name: values[0] for name, values in self.genes.items()}
        if len(architecture.stages) == len(self.spec.stages):
            found: dict[str, Option] = {}
            for i, stage in enumerate(architecture.stages, 1):
                self._read_stage(i, stage, found)
            genome |= {n: v for n, v in found.items() if v in self.genes.get(n, ())}
            if self.decode(genome) == architecture:
                return genome
        raise SpaceError(f"architecture {architecture.digest} is not in the space {self.name!r}")

    def _read_stage(self, i: int, stage: Stage, found: dict[str, Option]) -> None:
        first, last = self._kind_of(i, stage.blocks[0]), self._kind_of(i, stage.blocks[-1])
        found[f"stage{i}.depth"], found[f"stage{i}.width"] = stage.depth, stage.width
        found[f"stage{i}.mixer"] = first
        same = last == first and SAME in self.spec.stages[i - 1].second_half
        found[f"stage{i}.second_half"] = SAME if same else last
        for block, kind in ((stage.blocks[-1], last), (stage.blocks[0], first)):
            options = self.spec.kinds[kind].read(block) if kind else None
            for name, value in (options or {}).items():
                if kind and name in self.spec.options and self.spec.kinds[kind].takes(name):
                    found[self._gene(i, name)] = value

    def _kinds_in(self, i: int) -> list[str]:
        """The kinds of block that a stage may have."""
        stage = self.spec.stages[i - 1]
        return list(dict.fromkeys(k for k in (*stage.mixer, *stage.second_half) if k != SAME))

    def _kind_of(self, i: int, block: Block) -> str | None:
        fits = (k for k in self._kinds_in(i) if self.spec.kinds[k].read(block) is not None)
        return next(fits, None)

    def contains(self, architecture: Architecture) -> bool:
        try:
            self.encode(architecture)
        except SpaceError:
            return False
        return True

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
        shared = self.spec.options.keys() - self.spec.per_stage
        return sum(n * self._option_ways(shared, used) for used, n in by_used.items())

    def _stage_ways(self, i: int) -> Counter[frozenset[str]]:
        """Different stages by the kinds of block in them."""
        stage = self.spec.stages[i - 1]
        layouts = set()
        for depth, first, second in itertools.product(stage.depth, stage.mixer, stage.second_half):
            changes = depth > 1 and second not in (SAME, first)
            layouts.add((depth, first, second if changes else first))
        ways: Counter[frozenset[str]] = Counter()
        for _, first, second in layouts:
            kinds = frozenset((first, second))
            ways[kinds] += len(stage.width) * self._option_ways(self.spec.per_stage, kinds)
        return ways

    def _option_ways(self, names: Set[str], kinds: frozenset[str]) -> int:
        active = (n for n in names if any(self.spec.kinds[kind].takes(n) for kind in kinds))
        return math.prod(len(self.spec.options[n]) for n in active)

    def _check_buildable(self) -> None:
        """Every width with every kind of block and every combination of its options."""
        for i, stage in enumerate(self.spec.stages, 1):
            where = f"space {self.name!r}, stage {i}"
            made_by: dict[Block, str] = {}
            for kind in self._kinds_in(i):
                names = [n for n in self.spec.options if self.spec.kinds[kind].takes(n)]
                for values in itertools.product(*(self.spec.options[n] for n in names)):
                    options = dict(zip(names, values, strict=True))
                    for width in stage.width:
                        block = self._check_block(kind, options, width, where)
                    other = made_by.setdefault(block, kind)
                    if other != kind:
                        raise SpaceError(f"{where}: {other} and {kind} make the same block")

    def _check_block(self, kind: str, options: dict[str, Option], width: int, where: str) -> Block:
        try:
            block = self._block(kind, options)
            Stage(width, (block,))
            self.spec.stem.check_width(width)
            return block
        except (ArchitectureError, TypeError) as error:  # TypeError: an option without a value
            words = ", ".join(f"{n} {v}" for n, v in {"width": width, **options}.items())
            raise SpaceError(f"{where}, {kind} with {words}: {error}") from None
