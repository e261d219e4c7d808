"""What each trial of a search chose, decision by decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import SpaceError
from ..parts import Option
from ..search.rows import Row
from ..space import SearchSpace
from ..space_spec import SAME

JOINED = ".mixers"  # ends the name of a decision on the mixers of both halves of a stage

Choices = Mapping[str, Sequence[str | None]]
"""What each trial chose, by decision; None where the decision does not apply."""

Possible = Mapping[str, Sequence[str]]
"""What a space lets one choose, by decision."""


def read_choices(space: SearchSpace, rows: Sequence[Row]) -> tuple[list[Row], Choices]:
    """Read off the architectures: of decisions that do not apply a trial chose nothing. The trials
    come too, without those that an earlier space of the study made.

    The mixer of a stage and that of its second half are one decision, `stageN.mixers`. Apart they
    would say the same twice: `same` is what every stage of one block has, and a second half of
    Gated CNN says that the first is something else.
    """
    kept: list[Row] = []
    found: list[dict[str, str]] = []
    for row in rows:
        try:
            categories = space.categories(space.encode(row.architecture))
        except SpaceError:
            continue
        kept.append(row)
        found.append(
            {
                gene: _words(values[c])
                for (gene, values), c in zip(space.genes.items(), categories, strict=True)
                if c >= 0
            }
        )
    return kept, {
        name: [_choice(space, name, chosen) for chosen in found] for name in _decisions(space)
    }


def possible_choices(space: SearchSpace, made: Choices) -> Possible:
    """Those that trials might have made, in the space's order.

    Of decisions that applied to some trial: where none has an SSM, that its choice is missing says
    all, and nothing was missed of the states of SSMs.
    """
    return {
        name: (
            list(_mixers(space, _stage(name)))
            if name.endswith(JOINED)
            else [_words(value) for value in space.genes[name]]
        )
        for name in _decisions(space)
        if any(choice is not None for choice in made[name])
    }


def _decisions(space: SearchSpace) -> list[str]:
    """Genes, those on mixers joined."""
    joined = {gene.removesuffix(".second_half") for gene in space.genes if _is_second(gene)}
    names = (
        f"{gene.rpartition('.')[0]}{JOINED}"
        if _is_second(gene) or gene in {f"{stage}.mixer" for stage in joined}
        else gene
        for gene in space.genes
    )
    return list(dict.fromkeys(names))


def _choice(space: SearchSpace, name: str, chosen: Mapping[str, str]) -> str | None:
    if not name.endswith(JOINED):
        return chosen.get(name)
    stage = name.removesuffix(JOINED)
    first = chosen.get(f"{stage}.mixer", space.spec.stages[_stage(name) - 1].mixer[0])
    return _joined(first, chosen.get(f"{stage}.second_half", SAME))


def _mixers(space: SearchSpace, stage: int) -> Iterator[str]:
    spec = space.spec.stages[stage - 1]
    for first in spec.mixer:
        pairs = [_joined(first, second) for second in spec.second_half if max(spec.depth) > 1]
        yield from dict.fromkeys([first, *pairs] if min(spec.depth) == 1 else pairs)


def _joined(first: str, second: str) -> str:
    return first if second in (SAME, first) else f"{first} then {second}"


def _stage(name: str) -> int:
    return int(name.partition(".")[0].removeprefix("stage"))


def _is_second(gene: str) -> bool:
    return gene.endswith(".second_half")


def _words(value: Option) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
