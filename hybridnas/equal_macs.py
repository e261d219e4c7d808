"""Widths that give every architecture of a space the same MACs, so that layouts of mixers can be
compared: at equal widths an attention network has half as many again as a Gated CNN."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .architecture import Architecture, Block, Stage
from .cost import cost
from .errors import ArchitectureError, SpaceError

TOLERANCE = 0.0075  # either way, so any two are within 1.5 %
_MOVES = 2  # steps that a width may go either way after all were scaled
_MOST_STEPS = 64  # where a step that would do is looked for, as a multiple of the one given


@dataclass(frozen=True, slots=True)
class EqualMacs:
    """macs: of stem and stages, the head aside, for a square image of `resolution` pixels.
    step: widths are multiples of so many channels."""

    macs: float
    resolution: int
    step: int = 8


def check_step(block: Block, width: int, wanted: EqualMacs) -> None:
    """Raises ArchitectureError where a block cannot be built at all widths that scaling may give
    its stage, as with heads of 16 channels in steps of 8; it says which step would do.

    width: the stage's before scaling. Channels that must be a multiple of something are so at
    neighbouring widths only if they are at every one.
    """
    error = _error_in_steps(block, width, wanted.step)
    if error is None:
        return
    larger = (n * wanted.step for n in range(2, _MOST_STEPS + 1))
    fit = next((step for step in larger if _error_in_steps(block, width, step) is None), None)
    allowed = f"; allowed is a step of {fit}" if fit else ""
    raise ArchitectureError(f"equal_macs in steps of {wanted.step}: {error}{allowed}")


def _error_in_steps(block: Block, width: int, step: int) -> ArchitectureError | None:
    first = max(1, round(width / step))
    for number in range(first, first + 2 * _MOVES + 1):
        try:
            Stage(number * step, (block,))
        except ArchitectureError as error:
            return error
    return None


def with_equal_macs(architecture: Architecture, wanted: EqualMacs) -> Architecture:
    """The architecture with its widths scaled to the wanted MACs.

    All widths are multiplied by one factor and rounded, then each is moved by up to two steps: of
    those within 0.75 % of the wanted MACs, the widths whose proportions are nearest to the
    original's. Raises SpaceError where none is, or where a width cannot be built.
    """
    base = [stage.width for stage in architecture.stages]
    middle = _rounded(base, _factor(architecture, wanted), wanted.step)
    near = [
        [w for n in range(-_MOVES, _MOVES + 1) if (w := width + n * wanted.step) > 0]
        for width in middle
    ]
    parts = _parts(architecture, near, wanted)
    found = {
        widths: sum(map(parts.__getitem__, _places(widths))) / wanted.macs - 1
        for widths in itertools.product(*near)
    }
    fitting = [widths for widths, difference in found.items() if abs(difference) <= TOLERANCE]
    if not fitting:
        nearest = min(found.values(), key=abs)
        raise SpaceError(
            f"equal_macs: no widths of {architecture.short} in steps of {wanted.step} come within "
            f"{100 * TOLERANCE:g} % of {wanted.macs:.4g} MACs at {wanted.resolution} px; the "
            f"nearest differ by {100 * nearest:+.1f} %"
        )
    return _with_widths(architecture, min(fitting, key=lambda widths: _distortion(base, widths)))


def _factor(architecture: Architecture, wanted: EqualMacs) -> float:
    """By what widths are multiplied so that rounded ones have about the wanted MACs."""
    base = [stage.width for stage in architecture.stages]
    low, high = 0.0, 1.0
    while _macs(architecture, _rounded(base, high, wanted.step), wanted) < wanted.macs:
        low, high = high, 2 * high
    while (high - low) * max(base) > wanted.step / 2:
        middle = (low + high) / 2
        if _macs(architecture, _rounded(base, middle, wanted.step), wanted) < wanted.macs:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _rounded(base: Sequence[int], factor: float, step: int) -> tuple[int, ...]:
    return tuple(step * max(1, round(width * factor / step)) for width in base)


def _distortion(base: Sequence[int], widths: Sequence[int]) -> float:
    """How far widths are from the proportions of others: by the logarithms of their ratios."""
    ratios = [math.log(width / old) for width, old in zip(widths, base, strict=True)]
    mean = sum(ratios) / len(ratios)
    return sum((ratio - mean) ** 2 for ratio in ratios)


def _places(widths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Of each stage what its MACs depend on: its index, the width before it, its own."""
    return zip(itertools.count(), (0, *widths), widths)


def _parts(
    architecture: Architecture, near: Sequence[Sequence[int]], wanted: EqualMacs
) -> dict[tuple[int, int, int], int]:
    """MACs by `_places`, of every width beside every one of the stage before.

    Two lists of choices, taken in turn, have all pairs of neighbours in a few networks: their
    combinations are hundreds, and a search asks for thousands of architectures.
    """
    most = range(max(map(len, near)))
    found: dict[tuple[int, int, int], int] = {}
    for pair in itertools.product(most, most):
        widths = [own[min(pair[i % 2], len(own) - 1)] for i, own in enumerate(near)]
        known = cost(_with_widths(architecture, widths), wanted.resolution)
        macs = [stage.macs for stage in known.stages]
        macs[0] += known.stem.macs
        found |= dict(zip(_places(widths), macs, strict=True))
    return found


def _macs(architecture: Architecture, widths: Sequence[int], wanted: EqualMacs) -> int:
    known = cost(_with_widths(architecture, widths), wanted.resolution)
    return known.macs - known.head.macs


def _with_widths(architecture: Architecture, widths: Sequence[int]) -> Architecture:
    pairs = zip(architecture.stages, widths, strict=True)
    try:
        stages = tuple(dataclasses.replace(stage, width=width) for stage, width in pairs)
        return dataclasses.replace(architecture, stages=stages)
    except ArchitectureError as error:
        raise SpaceError(f"equal_macs: widths {'-'.join(map(str, widths))}: {error}") from None
