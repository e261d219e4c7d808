"""The twin of an architecture: mixers of a stage replaced by Gated CNN, at equal MACs.

A gated SSM block without its scan is a Gated CNN block (Yu & Wang, CVPR 2025, figure 1): form and
kernel stay, and what the scan cost goes into the blocks' inner width. Any other block becomes the
Gated CNN block of its neighbours, or MambaOut's where there is none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..architecture import Architecture, Block, Stage
from ..cost import cost
from ..counting import Size
from ..errors import ArchitectureError
from ..layers.blocks import Gated
from ..layers.tokens import Tokens
from ..mixers import Mixer
from ..mixers.conv import Conv
from ..mixers.gated_conv import GatedConv
from ..mixers.ssm import SSM

TESTED = ("ssm", "attention")
TOLERANCE = 0.015
# Inner over outer width of a block; MobileNetV2 has 6 (Sandler et al., CVPR 2018). Where MACs ask
# for more, the twin's stage is deeper instead.
_WIDEST = 6.0
# Times as many blocks. Attention on the largest maps costs as much as hundreds of Gated CNN blocks:
# nobody would train such a network, so the comparison would tell nothing.
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class StageMixer:
    """A mixer in a stage, counted from 1."""

    stage: int
    mixer: str


@dataclass(frozen=True, slots=True)
class Twin:
    """places: what was replaced. macs_difference: of the twin's MACs, task's head aside, as a share
    of the original's."""

    places: tuple[StageMixer, ...]
    architecture: Architecture
    macs_difference: float


def places_in(architecture: Architecture, mixers: Sequence[str] = TESTED) -> tuple[StageMixer, ...]:
    """Where an architecture has one of the mixers, first stage first."""
    return tuple(
        StageMixer(number, mixer)
        for number, stage in enumerate(architecture.stages, 1)
        for mixer in mixers
        if mixer in _names(stage)
    )


def twins_of(
    architecture: Architecture,
    size: Size,
    *,
    mixers: Sequence[str] = TESTED,
    stages: Sequence[int] | None = None,
    together: bool = False,
) -> list[Twin]:
    """A twin for each mixer of each stage.

    size: as of `twin_of`. stages: counted from 1; None: all that have one of the mixers. together:
    one more twin, without all of them at once. Raises ArchitectureError for what is not there, or
    cannot be replaced.
    """
    found, words = places_in(architecture, mixers), " or ".join(mixers)
    if not found:
        raise ArchitectureError(f"{architecture.short} has no {words} that could be replaced")
    has = sorted({place.stage for place in found})
    for stage in stages or ():
        if stage not in has:
            raise ArchitectureError(
                f"stage {stage} of {architecture.short} has no {words}; those that have: "
                f"{', '.join(map(str, has))}"
            )
    chosen = tuple(place for place in found if stages is None or place.stage in stages)
    groups: list[tuple[StageMixer, ...]] = [(place,) for place in chosen]
    if together and len(chosen) > 1:
        groups.append(chosen)
    return [twin_of(architecture, group, size) for group in groups]


def replaced(original: Architecture, twin: Architecture) -> tuple[StageMixer, ...]:
    """The mixers that a twin of this original lacks."""
    lacking = (
        StageMixer(number, mixer)
        for number, (stage, other) in enumerate(zip(original.stages, twin.stages, strict=True), 1)
        for mixer in TESTED
        if mixer in _names(stage) - _names(other)
    )
    return tuple(lacking)


def twin_of(architecture: Architecture, places: Sequence[StageMixer], size: Size) -> Twin:
    """The twin without the mixers at these places.

    Its stages keep their widths, so that the other stages, the downsamplers and the head stay as
    they are; the replaced blocks' inner width makes the MACs equal, and where that would be more
    than six times the stage's, there are more blocks. A class token goes, since a convolution
    could not carry it over the map: the twin pools the map.

    size: (height, width) of the image that MACs are counted for. Raises ArchitectureError where no
    twin comes within 1.5 % of the original's MACs, the head aside (with it the difference is the
    smaller), or only one of more than eight times the blocks does.
    """
    wanted = backbone_macs(architecture, size)
    found = _without_token(architecture)
    for place in places:
        found = _replace(found, place, wanted, size)
    difference = backbone_macs(found, size) / wanted - 1
    if abs(difference) > TOLERANCE:
        names = ", ".join(f"{place.mixer} of stage {place.stage}" for place in places)
        raise ArchitectureError(
            f"no twin of {architecture.short} without the {names} has its MACs within "
            f"{100 * TOLERANCE:g} %: the nearest, {found.short}, has {100 * difference:+.1f} %; "
            f"leave it out (--stages, --mixer)"
        )
    return Twin(tuple(places), found, difference)


def backbone_macs(architecture: Architecture, size: Size) -> int:
    """MACs of stem and stages, without a head."""
    known = cost(architecture, size)
    return known.macs - known.head.macs


def _names(stage: Stage) -> set[str]:
    return {block.mixer_name for block in stage.blocks}


def _without_token(architecture: Architecture) -> Architecture:
    if not isinstance(architecture.stem, Tokens):
        return architecture
    stem = dataclasses.replace(architecture.stem, class_token="none")
    return dataclasses.replace(architecture, stem=stem)


def _replace(
    architecture: Architecture, place: StageMixer, wanted: int, size: Size
) -> Architecture:
    """As few blocks as were replaced or more, so that none is wider inside than is usual."""
    stage = architecture.stages[place.stage - 1]
    number = sum(block.mixer_name == place.mixer for block in stage.blocks)
    template = _gated_cnn(architecture, place)

    def with_blocks(blocks: int, hidden: int) -> Architecture:
        stages = list(architecture.stages)
        block = _with_hidden(template, hidden, stage.width)
        stages[place.stage - 1] = _with_runs(stage, place.mixer, block, blocks)
        return dataclasses.replace(architecture, stages=tuple(stages))

    def exact(blocks: int) -> float:
        """The inner width at which MACs, which grow in a line with it, would be equal."""
        # Two widths that no template refuses, far enough apart.
        low, high = (factor * _least(template, stage.width) for factor in (1, 2))
        at_low, at_high = (backbone_macs(with_blocks(blocks, h), size) for h in (low, high))
        return low + (wanted - at_low) * (high - low) / (at_high - at_low)

    least = number
    while exact(number) > _WIDEST * stage.width:
        number += 1
        if number > _DEEPEST * least:
            raise ArchitectureError(
                f"no twin of {architecture.short} without the {place.mixer} of stage "
                f"{place.stage}: what it costs would take more than {number - 1} Gated CNN blocks "
                f"in place of {least}; leave it out (--stages, --mixer)"
            )
    middle = max(exact(number), _least(template, stage.width))
    near = [with_blocks(number, hidden) for hidden in {math.floor(middle), math.ceil(middle)}]
    return min(near, key=lambda twin: abs(backbone_macs(twin, size) - wanted))


def _least(block: Block, width: int) -> int:
    """The least inner width of a gated block: what it mixes is part of it."""
    return math.ceil(block.form.mixed_channels(width))


def _with_hidden(block: Block, hidden: int, width: int) -> Block:
    """The block with that inner width, in channels."""
    assert isinstance(block.form, Gated)
    expansion = hidden / width
    if int(expansion * width) < hidden:  # rounding took a channel away
        expansion = math.nextafter(expansion, math.inf)
    form = dataclasses.replace(block.form, expansion=expansion)
    return Block(form, block.mixer)


def _with_runs(stage: Stage, mixer: str, block: Block, number: int) -> Stage:
    """The stage with so many of the block where the mixer's blocks stood; those beyond their number
    follow the last of them."""
    places = [i for i, known in enumerate(stage.blocks) if known.mixer_name == mixer]
    blocks = [block if i in places else known for i, known in enumerate(stage.blocks)]
    blocks[places[-1] + 1 : places[-1] + 1] = [block] * (number - len(places))
    return dataclasses.replace(stage, blocks=tuple(blocks))


def _gated_cnn(architecture: Architecture, place: StageMixer) -> Block:
    """What stands where the mixer stood: form and kernel of the block itself, where it has them,
    else of the nearest that has."""
    near = list(_nearest(architecture, place))
    form = next((b.form for b in near if isinstance(b.form, Gated)), None)
    if form is None:
        own = near[0].form
        shared = {f.name for f in dataclasses.fields(own)} & {"act", "norm", "layer_scale"}
        form = Gated(**{name: getattr(own, name) for name in shared})
    kernels = (_kernel(block.mixer) for block in near)
    kernel = next((k for k in kernels if k is not None), GatedConv.kernel)
    return Block(form, GatedConv(kernel))


def _nearest(architecture: Architecture, place: StageMixer) -> Iterator[Block]:
    """The first block with the mixer, its stage's others, and those of all other stages, the
    nearest stage first."""
    by_distance = sorted(
        enumerate(architecture.stages, 1), key=lambda item: abs(item[0] - place.stage)
    )
    own = architecture.stages[place.stage - 1]
    yield next(block for block in own.blocks if block.mixer_name == place.mixer)
    for _, stage in by_distance:
        yield from stage.blocks


def _kernel(mixer: Mixer) -> int | None:
    """The side of a depthwise convolution on the map, where a mixer has one."""
    if isinstance(mixer, GatedConv):
        return mixer.kernel
    if isinstance(mixer, SSM) and mixer.conv == "2d":
        return mixer.kernel
    if isinstance(mixer, Conv) and mixer.depthwise:
        return mixer.kernel
    return None
